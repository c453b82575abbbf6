// What the row kernels with 256-bit registers share: the loop over entries, and
// writing 8 outputs of several positions at a time. An entry is a struct that loads
// its registers once and then multiplies one position after the other with them.
#ifndef QSPARSE_ROWS_YMM_ROWS_H_
#define QSPARSE_ROWS_YMM_ROWS_H_

#include <immintrin.h>

#include <algorithm>
#include <cstring>

#include "base/unroll.h"
#include "rows/row_kernel.h"

namespace qsparse {
namespace {

constexpr int kOutputs = 8;
constexpr int kMaxRows = 12;
constexpr int kRegisterBytes = 32;
constexpr int kHalfBytes = 16;

inline const int8_t* SourceRow(const PackArgs& a, int position) {
  const int32_t source = a.source[position];
  return source < 0 ? a.pad_row : a.input + static_cast<size_t>(source) * a.channels;
}

// Every half of the register receives the 16 bytes at x.
inline __m256i LoadTwice(const uint8_t* x) {
  return _mm256_broadcastsi128_si256(
      _mm_loadu_si128(reinterpret_cast<const __m128i*>(x)));
}

inline __m256i LoadRegister(const uint8_t* x) {
  return _mm256_load_si256(reinterpret_cast<const __m256i*>(x));
}

// Results of up to four positions, 8 outputs each. No product leaves the range of
// int32 (see read/layer_reader.cc), so saturation does the rest.
struct RowRequantizer {
  explicit RowRequantizer(const RowArgs& a)
      : zero_point(_mm256_set1_epi16(a.zero_point)),
        min(_mm256_set1_epi8(a.min)),
        max(_mm256_set1_epi8(a.max)) {}

  __m256i Pair(__m256i first, __m256i second, __m256 scale) const {
    const auto scaled = [&](__m256i acc) {
      return _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_cvtepi32_ps(acc), scale));
    };
    return _mm256_adds_epi16(_mm256_packs_epi32(scaled(first), scaled(second)),
                             zero_point);
  }

  // Eight bytes of each position, in order.
  __m256i operator()(const __m256i (&acc)[4], __m256 scale) const {
    const __m256i packed = _mm256_packs_epi16(Pair(acc[0], acc[1], scale),
                                              Pair(acc[2], acc[3], scale));
    const __m256i clamped = _mm256_min_epi8(_mm256_max_epi8(packed, min), max);
    return _mm256_permutevar8x32_epi32(clamped,
                                       _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
  }

  __m256i zero_point, min, max;
};

// A product takes 5 cycles or more and two can start per cycle: with few rows,
// neighbouring entries go to accumulators of their own.
constexpr int SetsOf(int rows) { return rows <= 2 ? 4 : rows <= 5 ? 2 : 1; }

// As in avx512_rows.h.
constexpr int kPrefetchBytes = 8192;

template <typename Entry, int kRows>
inline void AddEntry(const uint8_t* x, const uint8_t* bytes, __m256i (&acc)[kRows]) {
  _mm_prefetch(reinterpret_cast<const char*>(bytes + kPrefetchBytes), _MM_HINT_T0);
  const Entry entry(bytes);
  QSPARSE_UNROLL
  for (int m = 0; m < kRows; ++m) {
    acc[m] = entry.Multiply(x + m * Entry::kRowBytes, acc[m]);
    // Left alone, the compiler collects all loads first and runs out of registers.
    if (m % 2 == 1) __asm__ volatile("" ::: "memory");
  }
}

template <bool kWhole, int kRows>
inline void StoreRows(const RowArgs& a, int group, const RowRequantizer& requantize,
                      const __m256i (&acc)[kRows]) {
  constexpr int kTogether = 4;
  const __m256 scale = _mm256_loadu_ps(a.scale + group * kOutputs);
  int8_t* const out = a.output + group * kOutputs;
  QSPARSE_UNROLL
  for (int first = 0; first < kRows; first += kTogether) {
    __m256i some[kTogether];
    QSPARSE_UNROLL
    for (int i = 0; i < kTogether; ++i) some[i] = acc[std::min(first + i, kRows - 1)];
    const __m256i results = requantize(some, scale);
    const __m128i halves[] = {_mm256_castsi256_si128(results),
                              _mm256_extracti128_si256(results, 1)};
    QSPARSE_UNROLL
    for (int i = 0; i < kTogether; ++i) {
      if (first + i >= kRows || a.target[first + i] < 0) continue;
      const int64_t eight = i % 2 == 0 ? _mm_cvtsi128_si64(halves[i / 2])
                                       : _mm_extract_epi64(halves[i / 2], 1);
      int8_t* const to = out + static_cast<size_t>(a.target[first + i]) * a.row_stride;
      if (kWhole) {
        std::memcpy(to, &eight, kOutputs);
      } else {
        std::memcpy(to, &eight, a.outputs - group * kOutputs);
      }
    }
  }
}

template <typename Entry, int kRows>
void ComputeRows(const RowArgs& a) {
  constexpr int kSets = SetsOf(kRows);
  constexpr int kStep = std::max(kSets, Entry::kAtOnce);
  const uint8_t* const packed = a.packed;
  const RowRequantizer requantize(a);
  for (int group = 0; group < a.groups; ++group) {
    __m256i acc[kSets][kRows];
    const __m256i bias = _mm256_loadu_si256(
        reinterpret_cast<const __m256i*>(a.bias + group * kOutputs));
    QSPARSE_UNROLL
    for (int m = 0; m < kRows; ++m) {
      acc[0][m] = bias;
      QSPARSE_UNROLL
      for (int s = 1; s < kSets; ++s) acc[s][m] = _mm256_setzero_si256();
    }
    const int32_t* offset = a.offsets + a.offset_begin[group];
    const int32_t* const end = offset + (a.list_begin[group + 1] - a.list_begin[group]);
    const uint8_t* entry =
        a.entries + static_cast<size_t>(a.list_begin[group]) * Entry::kBytes;
    QSPARSE_ROLLED
    for (; end - offset >= kStep; offset += kStep, entry += kStep * Entry::kBytes) {
      QSPARSE_UNROLL
      for (int s = 0; s < kStep; ++s) {
        AddEntry<Entry>(packed + offset[s], entry + s * Entry::kBytes, acc[s % kSets]);
      }
    }
    QSPARSE_ROLLED
    for (; kStep > 1 && offset != end; ++offset, entry += Entry::kBytes) {
      AddEntry<Entry>(packed + *offset, entry, acc[0]);
    }
    QSPARSE_UNROLL
    for (int m = 0; m < kRows; ++m) {
      QSPARSE_UNROLL
      for (int s = 1; s < kSets; ++s) {
        acc[0][m] = _mm256_add_epi32(acc[0][m], acc[s][m]);
      }
    }
    if (a.outputs - group * kOutputs >= kOutputs) {
      StoreRows<true>(a, group, requantize, acc[0]);
    } else {
      StoreRows<false>(a, group, requantize, acc[0]);
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

#endif  // QSPARSE_ROWS_YMM_ROWS_H_
