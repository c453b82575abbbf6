// What the kernels with 128-bit NEON registers share: 4 positions per register.
//
// Everything here has internal linkage: each file that includes it is compiled
// for its own instructions, and no copy may stand in for another.
#ifndef QSPARSE_NEON_H_
#define QSPARSE_NEON_H_

#include <arm_neon.h>

#include <algorithm>
#include <cstring>

#include "kernel.h"
#include "unroll.h"

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

inline void Pack(const PackArgs& a) {
  for (int p = 0; p < a.positions; p += kLanes) {
    const int8_t* rows[kLanes];
    QSPARSE_UNROLL
    for (int i = 0; i < kLanes; ++i) rows[i] = SourceRow(a, p + i);
    uint8_t* out = a.packed + static_cast<size_t>(p) * kBlock;
    for (int c = 0; c < a.channels; c += kRegisterBytes) {
      const int bytes = std::min(kRegisterBytes, a.channels - c);
      int8x16_t r[kLanes];
      QSPARSE_UNROLL
      for (int i = 0; i < kLanes; ++i) {
        if (bytes == kRegisterBytes) {
          r[i] = vld1q_s8(rows[i] + c);
        } else {
          int8_t tail[kRegisterBytes] = {};
          std::memcpy(tail, rows[i] + c, bytes);
          r[i] = vld1q_s8(tail);
        }
      }
      Transpose4x4(r);
      const int quads = (bytes + kBlock - 1) / kBlock;
      QSPARSE_UNROLL
      for (int i = 0; i < kLanes; ++i, out += a.plane_stride) {
        if (i < quads) vst1q_u8(out, vreinterpretq_u8_s8(r[i]));
      }
    }
  }
}

// One register of one output each become dwords of four outputs. Rounds half to
// even and saturates on the way to 8 bits.
inline int8x16_t Requantize(const int32x4_t (&acc)[kBlock], float32x4_t scale,
                            const ComputeArgs& a) {
  const int32x4_t q[kBlock] = {
      vcvtnq_s32_f32(vmulq_laneq_f32(vcvtq_f32_s32(acc[0]), scale, 0)),
      vcvtnq_s32_f32(vmulq_laneq_f32(vcvtq_f32_s32(acc[1]), scale, 1)),
      vcvtnq_s32_f32(vmulq_laneq_f32(vcvtq_f32_s32(acc[2]), scale, 2)),
      vcvtnq_s32_f32(vmulq_laneq_f32(vcvtq_f32_s32(acc[3]), scale, 3))};
  const int16x8_t zero_point = vdupq_n_s16(a.zero_point);
  const int16x8_t first = vqaddq_s16(
      vqmovn_high_s32(vqmovn_s32(q[0]), q[1]), zero_point);
  const int16x8_t second = vqaddq_s16(
      vqmovn_high_s32(vqmovn_s32(q[2]), q[3]), zero_point);
  const int8x16_t by_output =
      vminq_s8(vmaxq_s8(vqmovn_high_s16(vqmovn_s16(first), second), vdupq_n_s8(a.min)),
               vdupq_n_s8(a.max));
  static constexpr uint8_t kTranspose4x4[kRegisterBytes] = {
      0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15};
  return vqtbl1q_s8(by_output, vld1q_u8(kTranspose4x4));
}

inline void Unpack(const UnpackArgs& a) {
  for (int p = 0; p < a.positions; p += kLanes) {
    for (int g = 0; g < a.groups; g += kLanes) {
      const int bytes = std::min(kRegisterBytes, a.bytes - g * kBlock);
      int8x16_t r[kLanes];
      QSPARSE_UNROLL
      for (int i = 0; i < kLanes; ++i) {
        const int group = std::min(g + i, a.groups - 1);
        r[i] = vreinterpretq_s8_u8(vld1q_u8(a.computed + group * a.stride +
                                            static_cast<size_t>(p) * kBlock));
      }
      Transpose4x4(r);
      QSPARSE_UNROLL
      for (int i = 0; i < kLanes; ++i) {
        const int32_t target = a.target[p + i];
        if (target < 0) continue;
        int8_t* out = a.output + static_cast<size_t>(target) * a.row_stride + g * kBlock;
        if (bytes == kRegisterBytes) {
          vst1q_s8(out, r[i]);
        } else {
          std::memcpy(out, &r[i], bytes);
        }
      }
    }
  }
}

}  // namespace
}  // namespace qsparse

#endif  // QSPARSE_NEON_H_
