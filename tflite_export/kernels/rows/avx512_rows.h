// What the row kernels of AVX512-VNNI share: packing, the loop over entries, and
// writing 16 outputs of a position at a time. An entry is a struct that loads its
// registers once and then multiplies one position after the other with them.
#ifndef QSPARSE_ROWS_AVX512_ROWS_H_
#define QSPARSE_ROWS_AVX512_ROWS_H_

#include <immintrin.h>

#include <algorithm>
#include <cstring>

#include "base/unroll.h"
#include "rows/row_kernel.h"

namespace qsparse {
namespace {

constexpr int kOutputs = 16;
constexpr int kMaxRows = 28;
constexpr int kRegisterBytes = 64;

inline void PackRows(const PackArgs& a) {
  const __m512i flip = _mm512_set1_epi8(static_cast<char>(0x80));
  for (int p = 0; p < a.positions; ++p) {
    const int32_t source = a.source[p];
    const int8_t* row =
        source < 0 ? a.pad_row : a.input + static_cast<size_t>(source) * a.channels;
    uint8_t* out = a.packed + static_cast<size_t>(p) * kRegisterBytes;
    int left = a.channels;
    for (; left >= kRegisterBytes; left -= kRegisterBytes, row += kRegisterBytes) {
      _mm512_store_si512(out, _mm512_xor_si512(_mm512_loadu_si512(row), flip));
      out += a.plane_stride;
    }
    if (left == 0) continue;
    const __mmask64 mask = (__mmask64{1} << left) - 1;
    _mm512_store_si512(out, _mm512_xor_si512(_mm512_maskz_loadu_epi8(mask, row), flip));
  }
}

// Clamped before the zero point is added, so that nothing can overflow.
struct RowRequantizer {
  explicit RowRequantizer(const RowArgs& a)
      : zero_point(_mm512_set1_epi32(a.zero_point)),
        min(_mm512_set1_epi32(a.min - a.zero_point)),
        max(_mm512_set1_epi32(a.max - a.zero_point)) {}

  __m128i operator()(__m512i acc, __m512 scale) const {
    const __m512i q = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_cvtepi32_ps(acc), scale));
    const __m512i clamped = _mm512_min_epi32(_mm512_max_epi32(q, min), max);
    return _mm512_cvtepi32_epi8(_mm512_add_epi32(clamped, zero_point));
  }

  __m512i zero_point, min, max;
};

// Masked stores are slow on some CPUs.
inline void Store(__m128i results, int count, int8_t* out) {
  if (count == kOutputs) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), results);
  } else {
    _mm_mask_storeu_epi8(out, static_cast<__mmask16>((1u << count) - 1), results);
  }
}

// A product takes 4 or 5 cycles and two can start per cycle: with few rows,
// neighbouring entries go to accumulators of their own.
constexpr int SetsOf(int rows) { return rows <= 2 ? 4 : rows <= 5 ? 2 : 1; }

// What the hardware fetches ahead is not enough: beyond the second-level cache,
// weights arrive a quarter later without this, whatever the number of rows.
constexpr int kPrefetchBytes = 8192;

template <typename Entry, int kRows>
inline void AddEntry(const uint8_t* x, const uint8_t* bytes, __m512i (&acc)[kRows]) {
  QSPARSE_UNROLL
  for (int i = 0; i < Entry::kBytes; i += kRegisterBytes) {
    _mm_prefetch(bytes + kPrefetchBytes + i, _MM_HINT_T0);
  }
  const Entry entry(bytes);
  QSPARSE_UNROLL
  for (int m = 0; m < kRows; ++m) {
    acc[m] = entry.Multiply(x + m * kRegisterBytes, acc[m]);
    // Left alone, the compiler collects all loads first and runs out of registers.
    if (m % 2 == 1) asm volatile("" ::: "memory");
  }
}

template <typename Entry, int kRows>
void ComputeRows(const RowArgs& a) {
  constexpr int kSets = SetsOf(kRows);
  const RowRequantizer requantize(a);
  for (int group = 0; group < a.groups; ++group) {
    __m512i acc[kSets][kRows];
    const __m512i bias = _mm512_loadu_si512(a.bias + group * kOutputs);
    QSPARSE_UNROLL
    for (int m = 0; m < kRows; ++m) {
      acc[0][m] = bias;
      QSPARSE_UNROLL
      for (int s = 1; s < kSets; ++s) acc[s][m] = _mm512_setzero_si512();
    }
    const int32_t* offset = a.offsets + a.offset_begin[group];
    const int32_t* const end = offset + (a.list_begin[group + 1] - a.list_begin[group]);
    const uint8_t* entry =
        a.entries + static_cast<size_t>(a.list_begin[group]) * Entry::kBytes;
    QSPARSE_ROLLED
    for (; end - offset >= kSets; offset += kSets, entry += kSets * Entry::kBytes) {
      QSPARSE_UNROLL
      for (int s = 0; s < kSets; ++s) {
        AddEntry<Entry>(a.packed + offset[s], entry + s * Entry::kBytes, acc[s]);
      }
    }
    QSPARSE_ROLLED
    for (; kSets > 1 && offset != end; ++offset, entry += Entry::kBytes) {
      AddEntry<Entry>(a.packed + *offset, entry, acc[0]);
    }
    const __m512 scale = _mm512_loadu_ps(a.scale + group * kOutputs);
    const int left = std::min(kOutputs, a.outputs - group * kOutputs);
    int8_t* const out = a.output + group * kOutputs;
    QSPARSE_UNROLL
    for (int m = 0; m < kRows; ++m) {
      QSPARSE_UNROLL
      for (int s = 1; s < kSets; ++s) {
        acc[0][m] = _mm512_add_epi32(acc[0][m], acc[s][m]);
      }
      if (a.target[m] < 0) continue;
      Store(requantize(acc[0][m], scale), left,
            out + static_cast<size_t>(a.target[m]) * a.row_stride);
    }
  }
}

template <typename Entry, int kRows = kMaxRows>
void Compute(const RowArgs& a) {
  if constexpr (kRows > 1) {
    if (a.rows < kRows) return Compute<Entry, kRows - 1>(a);
  }
  ComputeRows<Entry, kRows>(a);
}

}  // namespace
}  // namespace qsparse

#endif  // QSPARSE_ROWS_AVX512_ROWS_H_
