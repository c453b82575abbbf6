// What the kernels with 128-bit NEON registers share: 4 positions per register.
//
// Everything here has internal linkage: each file that includes it is compiled
// for its own instructions, and no copy may stand in for another.
#ifndef QSPARSE_BLOCKS_NEON_H_
#define QSPARSE_BLOCKS_NEON_H_

#include <arm_neon.h>

#include <algorithm>
#include <cstring>

#include "base/unroll.h"
#include "blocks/kernel.h"

namespace qsparse {
namespace {

constexpr int kLanes = 4;
constexpr int kRegisterBytes = 16;

inline const int8_t* SourceRow(const PackArgs& a, int position) {
  const int32_t source = a.source[position];
  return source < 0 ? a.pad_row : a.input + static_cast<size_t>(source) * a.channels;
}

// In place: dword j of register i becomes dword i of register j.
inline void Transpose4x4(int8x16_t (&r)[kLanes]) {
  const int32x4x2_t low =
      vzipq_s32(vreinterpretq_s32_s8(r[0]), vreinterpretq_s32_s8(r[2]));
  const int32x4x2_t high =
      vzipq_s32(vreinterpretq_s32_s8(r[1]), vreinterpretq_s32_s8(r[3]));
  QSPARSE_UNROLL
  for (int i = 0; i < 2; ++i) {
    const int32x4x2_t both = vzipq_s32(low.val[i], high.val[i]);
    r[2 * i] = vreinterpretq_s8_s32(both.val[0]);
    r[2 * i + 1] = vreinterpretq_s8_s32(both.val[1]);
  }
}

// Stores the first `quads` registers, one plane apart.
inline void StoreQuads(const int8x16_t (&r)[kLanes], int quads, size_t stride,
                       uint8_t* out) {
  QSPARSE_UNROLL
  for (int i = 0; i < kLanes; ++i) {
    if (i < quads) vst1q_u8(out + i * stride, vreinterpretq_u8_s8(r[i]));
  }
}

inline void Pack(const PackArgs& a) {
  const size_t stride = a.plane_stride;
  for (int p = 0; p < a.positions; p += kLanes) {
    const int8_t* rows[kLanes];
    QSPARSE_UNROLL
    for (int i = 0; i < kLanes; ++i) rows[i] = SourceRow(a, p + i);
    uint8_t* out = a.packed + static_cast<size_t>(p) * kBlock;
    int8x16_t r[kLanes];
    int c = 0;
    for (; c <= a.channels - kRegisterBytes; c += kRegisterBytes, out += kLanes * stride) {
      QSPARSE_UNROLL
      for (int i = 0; i < kLanes; ++i) r[i] = vld1q_s8(rows[i] + c);
      Transpose4x4(r);
      StoreQuads(r, kLanes, stride, out);
    }
    if (const int bytes = a.channels - c; bytes != 0) {
      QSPARSE_UNROLL
      for (int i = 0; i < kLanes; ++i) {
        int8_t tail[kRegisterBytes] = {};
        std::memcpy(tail, rows[i] + c, bytes);
        r[i] = vld1q_s8(tail);
      }
      Transpose4x4(r);
      StoreQuads(r, (bytes + kBlock - 1) / kBlock, stride, out);
    }
  }
}

struct Requantizer {
  explicit Requantizer(const ComputeArgs& a)
      : zero_point(vdupq_n_s16(a.zero_point)),
        min(vdupq_n_s8(a.min)),
        max(vdupq_n_s8(a.max)) {}

  // One register of one output each become dwords of four outputs. Rounds half to
  // even and saturates on the way to 8 bits.
  int8x16_t operator()(const int32x4_t (&acc)[kBlock], float32x4_t scale) const {
    const int32x4_t q[kBlock] = {
        vcvtnq_s32_f32(vmulq_laneq_f32(vcvtq_f32_s32(acc[0]), scale, 0)),
        vcvtnq_s32_f32(vmulq_laneq_f32(vcvtq_f32_s32(acc[1]), scale, 1)),
        vcvtnq_s32_f32(vmulq_laneq_f32(vcvtq_f32_s32(acc[2]), scale, 2)),
        vcvtnq_s32_f32(vmulq_laneq_f32(vcvtq_f32_s32(acc[3]), scale, 3))};
    const int16x8_t first = vqmovn_high_s32(vqmovn_s32(q[0]), q[1]);
    const int16x8_t second = vqmovn_high_s32(vqmovn_s32(q[2]), q[3]);
    const int8x8_t low = vqmovn_s16(vqaddq_s16(first, zero_point));
    const int8x16_t by_output = vqmovn_high_s16(low, vqaddq_s16(second, zero_point));
    static constexpr uint8_t kTranspose4x4[kRegisterBytes] = {
        0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15};
    return vqtbl1q_s8(vminq_s8(vmaxq_s8(by_output, min), max), vld1q_u8(kTranspose4x4));
  }

  int16x8_t zero_point;
  int8x16_t min, max;
};

inline void Unpack(const UnpackArgs& a) {
  int8_t discarded[kGroupsPerBatch * kBlock];
  for (int p = 0; p < a.positions; p += kLanes) {
    int8_t* rows[kLanes];
    QSPARSE_UNROLL
    for (int i = 0; i < kLanes; ++i) {
      const int32_t target = a.target[p + i];
      rows[i] = target < 0 ? discarded
                           : a.output + static_cast<size_t>(target) * a.row_stride;
    }
    const uint8_t* in = a.computed + static_cast<size_t>(p) * kBlock;
    int8x16_t r[kLanes];
    int done = 0;
    for (; done <= a.bytes - kRegisterBytes; done += kRegisterBytes) {
      QSPARSE_UNROLL
      for (int i = 0; i < kLanes; ++i, in += a.stride) {
        r[i] = vreinterpretq_s8_u8(vld1q_u8(in));
      }
      Transpose4x4(r);
      QSPARSE_UNROLL
      for (int i = 0; i < kLanes; ++i) vst1q_s8(rows[i] + done, r[i]);
    }
    if (const int bytes = a.bytes - done; bytes != 0) {
      // Groups past the last are read as copies of it, and not written.
      const int groups = a.groups - done / kBlock;
      QSPARSE_UNROLL
      for (int i = 0; i < kLanes; ++i) {
        r[i] = vreinterpretq_s8_u8(vld1q_u8(in + std::min(i, groups - 1) * a.stride));
      }
      Transpose4x4(r);
      QSPARSE_UNROLL
      for (int i = 0; i < kLanes; ++i) std::memcpy(rows[i] + done, &r[i], bytes);
    }
  }
}

}  // namespace
}  // namespace qsparse

#endif  // QSPARSE_BLOCKS_NEON_H_
