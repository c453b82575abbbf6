// What the matrix products with 256-bit registers share. Internal linkage: each file
// that includes it is compiled for its own instructions.
#ifndef QSPARSE_MATMUL_MATMUL_YMM_H_
#define QSPARSE_MATMUL_MATMUL_YMM_H_

#include <immintrin.h>

#include <cstring>

#include "base/unroll.h"
#include "matmul/matmul_pack.h"

namespace qsparse {
namespace {

constexpr int kLanes = 8;

// Eight values and their zero point, as bytes.
inline uint64_t Bytes(__m256i value, __m256i zero_point) {
  const __m256i words =
      _mm256_adds_epi16(_mm256_packs_epi32(value, value), zero_point);
  const __m256i bytes = _mm256_packs_epi16(words, words);
  const auto low = static_cast<uint32_t>(_mm256_cvtsi256_si32(bytes));
  const auto upper = static_cast<uint32_t>(_mm256_extract_epi32(bytes, 4));
  return low | uint64_t{upper} << 32;
}

class Requantizer {
 public:
  explicit Requantizer(const FixedPoint& fixed)
      : multiplier_(_mm256_set1_epi32(fixed.multiplier)),
        half_(_mm256_set1_epi32(int32_t{1} << (fixed.shift - 1))),
        shift_(_mm_cvtsi32_si128(fixed.shift)),
        zero_point_(_mm256_set1_epi16(static_cast<int16_t>(fixed.zero_point))) {}

  uint64_t operator()(__m256i sums) const {
    // Twice the sum puts the bits that are kept into the upper dwords.
    const __m256i twice = _mm256_add_epi32(sums, sums);
    const __m256i nudge = _mm256_set1_epi64x(int64_t{1} << 31);
    const __m256i even =
        _mm256_add_epi64(_mm256_mul_epi32(twice, multiplier_), nudge);
    const __m256i odd = _mm256_add_epi64(
        _mm256_mul_epi32(_mm256_srli_epi64(twice, 32), multiplier_), nudge);
    const __m256i high = _mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xaa);
    const __m256i away = _mm256_add_epi32(half_, _mm256_srai_epi32(high, 31));
    const __m256i value = _mm256_sra_epi32(_mm256_add_epi32(high, away), shift_);
    return Bytes(value, zero_point_);
  }

 private:
  __m256i multiplier_, half_;
  __m128i shift_;
  __m256i zero_point_;
};

class RoundsOnce {
 public:
  explicit RoundsOnce(const MatmulArgs& a)
      : factor_(_mm256_set1_ps(a.factor)),
        least_(_mm256_set1_ps(static_cast<float>(-128 - a.fixed.zero_point))),
        most_(_mm256_set1_ps(static_cast<float>(127 - a.fixed.zero_point))),
        zero_point_(_mm256_set1_epi16(static_cast<int16_t>(a.fixed.zero_point))) {}

  uint64_t operator()(__m256i sums) const {
    const __m256 scaled = _mm256_mul_ps(_mm256_cvtepi32_ps(sums), factor_);
    const __m256i value =
        _mm256_cvtps_epi32(_mm256_min_ps(_mm256_max_ps(scaled, least_), most_));
    return Bytes(value, zero_point_);
  }

 private:
  __m256 factor_, least_, most_;
  __m256i zero_point_;
};

template <typename Product, int kRows, int kVectors, typename Rounding>
void MultiplyPanels(const MatmulArgs& a, int32_t n, const Rounding& requantize) {
  const size_t panel = static_cast<size_t>(a.dwords) * kLanes;
  const auto* const right = reinterpret_cast<const int32_t*>(a.right) + n / kLanes * panel;
  for (int32_t m = 0; m < a.rows; m += kRows) {
    const auto* left = reinterpret_cast<const int32_t*>(a.left) +
                       static_cast<size_t>(m) * a.dwords;
    __m256i sums[kRows][kVectors];
    QSPARSE_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      const __m256i bias = _mm256_loadu_si256(
          reinterpret_cast<const __m256i*>(a.right_bias + n + v * kLanes));
      QSPARSE_UNROLL
      for (int r = 0; r < kRows; ++r) {
        sums[r][v] = _mm256_add_epi32(bias, _mm256_set1_epi32(a.left_bias[m + r]));
      }
    }
    const int32_t* columns = right;
    QSPARSE_ROLLED
    for (int32_t k = 0; k < a.dwords; ++k, ++left, columns += kLanes) {
      __m256i b[kVectors];
      QSPARSE_UNROLL
      for (int v = 0; v < kVectors; ++v) {
        b[v] = _mm256_load_si256(
            reinterpret_cast<const __m256i*>(columns + v * panel));
      }
      QSPARSE_UNROLL
      for (int r = 0; r < kRows; ++r) {
        const __m256i value = _mm256_set1_epi32(left[static_cast<size_t>(r) * a.dwords]);
        QSPARSE_UNROLL
        for (int v = 0; v < kVectors; ++v) {
          sums[r][v] = Product::Add(sums[r][v], value, b[v]);
        }
      }
    }
    QSPARSE_UNROLL
    for (int r = 0; r < kRows; ++r) {
      if (m + r >= a.rows) break;
      int8_t* const out = a.out + static_cast<size_t>(m + r) * a.columns + n;
      QSPARSE_UNROLL
      for (int v = 0; v < kVectors; ++v) {
        const uint64_t bytes = requantize(sums[r][v]);
        const int32_t count = std::min(a.columns - n - v * kLanes, kLanes);
        std::memcpy(out + v * kLanes, &bytes, static_cast<size_t>(count));
      }
    }
  }
}

template <typename Product, int kRows, typename Rounding>
void MultiplyAll(const MatmulArgs& a, const Rounding& requantize) {
  int32_t n = 0;
  for (; n + kLanes < a.columns; n += 2 * kLanes) {
    MultiplyPanels<Product, kRows, 2>(a, n, requantize);
  }
  if (n < a.columns) MultiplyPanels<Product, kRows, 1>(a, n, requantize);
}

template <typename Product, int kRows>
void Multiply(const MatmulArgs& a) {
  if (a.factor != 0) return MultiplyAll<Product, kRows>(a, RoundsOnce(a));
  MultiplyAll<Product, kRows>(a, Requantizer(a.fixed));
}

}  // namespace
}  // namespace qsparse

#endif  // QSPARSE_MATMUL_MATMUL_YMM_H_
