#include <immintrin.h>

#include <cstring>
#include <limits>

#include "base/unroll.h"
#include "regions/row_loop.h"

namespace qsparse {
namespace {

struct Ymm {
  using Floats = __m256;
  static constexpr int32_t kLanes = 8;

  static __m256i First(int32_t n) {
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), lanes);
  }
  static Floats Load(const float* from) { return _mm256_loadu_ps(from); }
  static Floats LoadTail(const float* from, int32_t n) {
    return _mm256_maskload_ps(from, First(n));
  }
  static void Store(float* to, Floats value) { _mm256_storeu_ps(to, value); }
  static void StoreTail(float* to, int32_t n, Floats value) {
    _mm256_maskstore_ps(to, First(n), value);
  }
  static Floats Set(float value) { return _mm256_set1_ps(value); }
  static Floats Add(Floats a, Floats b) { return _mm256_add_ps(a, b); }
  static Floats Subtract(Floats a, Floats b) { return _mm256_sub_ps(a, b); }
  static Floats Multiply(Floats a, Floats b) { return _mm256_mul_ps(a, b); }
  static Floats Negate(Floats a) { return _mm256_sub_ps(Set(0), a); }
  static Floats EstimateReciprocalRoot(Floats a) { return _mm256_rsqrt_ps(a); }
  static Floats ZeroWhereInfinite(Floats a, Floats value) {
    const Floats infinity = Set(std::numeric_limits<float>::infinity());
    return _mm256_andnot_ps(_mm256_cmp_ps(a, infinity, _CMP_EQ_OQ), value);
  }

  static Floats LoadSteps(const int8_t* from, int32_t zero_point) {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(from));
    return _mm256_cvtepi32_ps(_mm256_sub_epi32(_mm256_cvtepi8_epi32(bytes),
                                               _mm256_set1_epi32(zero_point)));
  }
  static Floats LoadStepsTail(const int8_t* from, int32_t n, int32_t zero_point) {
    int8_t bytes[kLanes] = {};
    std::memcpy(bytes, from, static_cast<size_t>(n));
    return LoadSteps(bytes, zero_point);
  }

  // Beyond 2^15 steps all is the greatest value; the conversion knows no more than 2^31.
  static void StoreSteps(int8_t* to, int32_t n, Floats steps, int32_t zero_point) {
    const __m256i whole = _mm256_cvtps_epi32(_mm256_min_ps(steps, Set(32767.0f)));
    const __m128i words =
        _mm_adds_epi16(_mm_packs_epi32(_mm256_castsi256_si128(whole),
                                       _mm256_extracti128_si256(whole, 1)),
                       _mm_set1_epi16(static_cast<int16_t>(zero_point)));
    const auto bytes = static_cast<uint64_t>(
        _mm_cvtsi128_si64(_mm_packs_epi16(words, words)));
    std::memcpy(to, &bytes, static_cast<size_t>(n));
  }

  // Four registers side by side, then halves onto each other.
  template <typename Function>
  static float Sum(int32_t columns, const Function& function) {
    Floats sums[4] = {Set(0), Set(0), Set(0), Set(0)};
    int32_t i = 0;
    for (; i + 4 * kLanes <= columns; i += 4 * kLanes) {
      QSPARSE_UNROLL
      for (int k = 0; k < 4; ++k) {
        sums[k] = Add(sums[k], function(At<Ymm, true>{i + k * kLanes, kLanes}));
      }
    }
    for (int k = 0; k < 3 && i + kLanes <= columns; ++k, i += kLanes) {
      sums[k] = Add(sums[k], function(At<Ymm, true>{i, kLanes}));
    }
    Floats sum = Add(Add(sums[0], sums[2]), Add(sums[1], sums[3]));
    if (i < columns) {
      // What is no part of the row counts as zero, whatever became of it.
      const int32_t n = columns - i;
      const Floats rest = function(At<Ymm, false>{i, n});
      sum = Add(sum, _mm256_and_ps(rest, _mm256_castsi256_ps(First(n))));
    }
    const __m128 four =
        _mm_add_ps(_mm256_castps256_ps128(sum), _mm256_extractf128_ps(sum, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
  }
};

}  // namespace

RowFunction GetAvx2RowFunction();

RowFunction GetAvx2RowFunction() { return &RowLoop<Ymm>; }

}  // namespace qsparse
