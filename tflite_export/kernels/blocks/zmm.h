// What the plane kernels with 512-bit registers share. Internal linkage, as every file
// with instructions of its own needs.
#ifndef QSPARSE_BLOCKS_ZMM_H_
#define QSPARSE_BLOCKS_ZMM_H_

#include <immintrin.h>

#include "base/unroll.h"
#include "blocks/kernel.h"

namespace qsparse {
namespace {

inline __mmask64 FirstBytes(int count) {
  return count >= 64 ? ~__mmask64{0} : (__mmask64{1} << count) - 1;
}

// Writes a register per position, from `first` on, to its row of the output.
template <int kPositions>
inline void StoreRows(const UnpackArgs& a, int first, __mmask64 mask, __m512i flip,
                      const __m512i* rows) {
  QSPARSE_UNROLL
  for (int i = 0; i < kPositions; ++i) {
    const int32_t target = a.target[first + i];
    if (target < 0) continue;
    _mm512_mask_storeu_epi8(a.output + static_cast<size_t>(target) * a.row_stride, mask,
                            _mm512_xor_si512(rows[i], flip));
  }
}

// In place: element j of register i becomes element i of register j.
inline void Transpose16x16(__m512i (&r)[16]) {
  __m512i t[16];
  QSPARSE_UNROLL
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
  QSPARSE_UNROLL
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  QSPARSE_UNROLL
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
  }
  QSPARSE_UNROLL
  for (int i = 0; i < 4; ++i) {
    r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
    r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
    r[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
    r[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd);
  }
}

}  // namespace
}  // namespace qsparse

#endif  // QSPARSE_BLOCKS_ZMM_H_
