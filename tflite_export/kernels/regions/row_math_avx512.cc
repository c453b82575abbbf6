#include <immintrin.h>

#include <limits>

#include "regions/row_loop.h"

namespace qsparse {
namespace {

struct Zmm {
  using Floats = __m512;
  static constexpr int32_t kLanes = 16;

  static __mmask16 First(int32_t n) { return static_cast<__mmask16>((1u << n) - 1); }
  static Floats Load(const float* from) { return _mm512_loadu_ps(from); }
  static Floats LoadTail(const float* from, int32_t n) {
    return _mm512_maskz_loadu_ps(First(n), from);
  }
  static void Store(float* to, Floats value) { _mm512_storeu_ps(to, value); }
  static void StoreTail(float* to, int32_t n, Floats value) {
    _mm512_mask_storeu_ps(to, First(n), value);
  }
  static Floats Set(float value) { return _mm512_set1_ps(value); }
  static Floats Add(Floats a, Floats b) { return _mm512_add_ps(a, b); }
  static Floats Subtract(Floats a, Floats b) { return _mm512_sub_ps(a, b); }
  static Floats Multiply(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
  static Floats Negate(Floats a) { return _mm512_sub_ps(Set(0), a); }
  static Floats EstimateReciprocalRoot(Floats a) { return _mm512_rsqrt14_ps(a); }
  static Floats ZeroWhereInfinite(Floats a, Floats value) {
    const Floats infinity = Set(std::numeric_limits<float>::infinity());
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(a, infinity, _CMP_NEQ_UQ), value);
  }

  static Floats LoadSteps(const int8_t* from, int32_t zero_point) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
    return Steps(bytes, zero_point);
  }
  static Floats LoadStepsTail(const int8_t* from, int32_t n, int32_t zero_point) {
    return Steps(_mm_maskz_loadu_epi8(First(n), from), zero_point);
  }
  static Floats Steps(__m128i bytes, int32_t zero_point) {
    return _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_cvtepi8_epi32(bytes),
                                               _mm512_set1_epi32(zero_point)));
  }

  // Beyond 2^15 steps all is the greatest value; the conversion knows no more than 2^31.
  static void StoreSteps(int8_t* to, int32_t n, Floats steps, int32_t zero_point) {
    const __m512i whole = _mm512_cvtps_epi32(_mm512_min_ps(steps, Set(32767.0f)));
    const __m256i words =
        _mm256_adds_epi16(_mm512_cvtsepi32_epi16(whole),
                          _mm256_set1_epi16(static_cast<int16_t>(zero_point)));
    const __mmask16 mask = n == kLanes ? static_cast<__mmask16>(0xffff) : First(n);
    _mm_mask_storeu_epi8(to, mask, _mm256_cvtsepi16_epi8(words));
  }

  // Two registers side by side, then halves onto each other.
  template <typename Function>
  static float Sum(int32_t columns, const Function& function) {
    Floats sums[2] = {Set(0), Set(0)};
    int32_t i = 0;
    for (; i + 2 * kLanes <= columns; i += 2 * kLanes) {
      sums[0] = Add(sums[0], function(At<Zmm, true>{i, kLanes}));
      sums[1] = Add(sums[1], function(At<Zmm, true>{i + kLanes, kLanes}));
    }
    if (i + kLanes <= columns) {
      sums[0] = Add(sums[0], function(At<Zmm, true>{i, kLanes}));
      i += kLanes;
    }
    Floats sum = Add(sums[0], sums[1]);
    if (i < columns) {
      // What is no part of the row counts as zero, whatever became of it.
      sum = _mm512_mask_add_ps(sum, First(columns - i), sum,
                               function(At<Zmm, false>{i, columns - i}));
    }
    const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(sum),
                                       _mm512_extractf32x8_ps(sum, 1));
    const __m128 four =
        _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
  }
};

}  // namespace

RowFunction GetAvx512RowFunction();

RowFunction GetAvx512RowFunction() { return &RowLoop<Zmm>; }

}  // namespace qsparse
