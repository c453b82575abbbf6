// What the kernels with 256-bit registers share: 8 positions per register.
//
// Everything here has internal linkage: each file that includes it is compiled
// for its own instructions, and no copy may stand in for another.
#ifndef QSPARSE_BLOCKS_YMM_H_
#define QSPARSE_BLOCKS_YMM_H_

#include <immintrin.h>

#include <algorithm>
#include <cstring>

#include "base/unroll.h"
#include "blocks/kernel.h"

namespace qsparse {
namespace {

constexpr int kLanes = 8;
constexpr int kRegisterBytes = 32;

// In place: element j of register i becomes element i of register j.
inline void Transpose8x8(__m256i (&r)[8]) {
  __m256i t[8], u[8];
  QSPARSE_UNROLL
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm256_unpackhi_epi32(r[i], r[i + 1]);
  }
  QSPARSE_UNROLL
  for (int i = 0; i < 8; i += 4) {
    u[i] = _mm256_unpacklo_epi64(t[i], t[i + 2]);
    u[i + 1] = _mm256_unpackhi_epi64(t[i], t[i + 2]);
    u[i + 2] = _mm256_unpacklo_epi64(t[i + 1], t[i + 3]);
    u[i + 3] = _mm256_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  QSPARSE_UNROLL
  for (int i = 0; i < 4; ++i) {
    r[i] = _mm256_permute2x128_si256(u[i], u[i + 4], 0x20);
    r[i + 4] = _mm256_permute2x128_si256(u[i], u[i + 4], 0x31);
  }
}

inline const int8_t* SourceRow(const PackArgs& a, int position) {
  const int32_t source = a.source[position];
  return source < 0 ? a.pad_row : a.input + static_cast<size_t>(source) * a.channels;
}

// Selects the first `bytes`, a multiple of 4.
inline __m256i FirstDwords(int bytes) {
  const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(bytes / 4), index);
}

// Bytes of the rows, xored with `flip_byte`, as quads.
inline void PackQuads(const PackArgs& a, uint8_t flip_byte) {
  const __m256i flip = _mm256_set1_epi8(static_cast<char>(flip_byte));
  for (int p = 0; p < a.positions; p += kLanes) {
    uint8_t* out = a.packed + static_cast<size_t>(p) * kBlock;
    for (int c = 0; c < a.channels; c += kRegisterBytes) {
      const int channels = std::min(kRegisterBytes, a.channels - c);
      const __m256i mask = FirstDwords(channels);
      __m256i r[8];
      QSPARSE_UNROLL
      for (int i = 0; i < kLanes; ++i) {
        const int8_t* row = SourceRow(a, p + i) + c;
        if (channels % kBlock == 0) {
          r[i] = _mm256_maskload_epi32(reinterpret_cast<const int*>(row), mask);
        } else {
          alignas(32) int8_t tail[kRegisterBytes] = {};
          std::memcpy(tail, row, channels);
          r[i] = _mm256_load_si256(reinterpret_cast<const __m256i*>(tail));
        }
        r[i] = _mm256_xor_si256(r[i], flip);
      }
      Transpose8x8(r);
      alignas(32) uint8_t quads[kLanes][kRegisterBytes];
      QSPARSE_UNROLL
      for (int i = 0; i < kLanes; ++i) {
        _mm256_store_si256(reinterpret_cast<__m256i*>(quads[i]), r[i]);
      }
      const int planes = (channels + kBlock - 1) / kBlock;
      for (int i = 0; i < planes; ++i, out += a.plane_stride) {
        std::memcpy(out, quads[i], kRegisterBytes);
      }
    }
  }
}

// Four registers of one output each become dwords of four outputs. No product
// leaves the range of int32 (see read/layer_reader.cc), so saturation does the rest.
inline __m256i Requantize(const __m256i (&acc)[kBlock], const float* scale,
                          const ComputeArgs& a) {
  __m256i q[kBlock];
  QSPARSE_UNROLL
  for (int v = 0; v < kBlock; ++v) {
    q[v] = _mm256_cvtps_epi32(
        _mm256_mul_ps(_mm256_cvtepi32_ps(acc[v]), _mm256_set1_ps(scale[v])));
  }
  const __m256i zero_point = _mm256_set1_epi16(a.zero_point);
  const __m256i first = _mm256_adds_epi16(_mm256_packs_epi32(q[0], q[1]), zero_point);
  const __m256i second = _mm256_adds_epi16(_mm256_packs_epi32(q[2], q[3]), zero_point);
  const __m256i by_output = _mm256_min_epi8(
      _mm256_max_epi8(_mm256_packs_epi16(first, second), _mm256_set1_epi8(a.min)),
      _mm256_set1_epi8(a.max));
  const __m256i transpose4x4 = _mm256_broadcastsi128_si256(
      _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
  return _mm256_xor_si256(_mm256_shuffle_epi8(by_output, transpose4x4),
                          _mm256_set1_epi8(static_cast<char>(a.flip)));
}

inline void Unpack(const UnpackArgs& a) {
  const __m256i flip = _mm256_set1_epi8(static_cast<char>(a.flip));
  for (int p = 0; p < a.positions; p += kLanes) {
    for (int g = 0; g < a.groups; g += kLanes) {
      const int bytes = std::min(kRegisterBytes, a.bytes - g * kBlock);
      __m256i r[8];
      QSPARSE_UNROLL
      for (int i = 0; i < kLanes; ++i) {
        const int group = std::min(g + i, a.groups - 1);
        r[i] = _mm256_load_si256(reinterpret_cast<const __m256i*>(
            a.computed + group * a.stride + static_cast<size_t>(p) * kBlock));
        r[i] = _mm256_xor_si256(r[i], flip);
      }
      Transpose8x8(r);
      const __m256i mask = FirstDwords(bytes);
      QSPARSE_UNROLL
      for (int i = 0; i < kLanes; ++i) {
        const int32_t target = a.target[p + i];
        if (target < 0) continue;
        int8_t* out = a.output + static_cast<size_t>(target) * a.row_stride + g * kBlock;
        if (bytes == kRegisterBytes) {
          _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), r[i]);
        } else if (bytes % 4 == 0) {
          _mm256_maskstore_epi32(reinterpret_cast<int*>(out), mask, r[i]);
        } else {
          std::memcpy(out, &r[i], bytes);
        }
      }
    }
  }
}

}  // namespace
}  // namespace qsparse

#endif  // QSPARSE_BLOCKS_YMM_H_
