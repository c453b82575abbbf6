// AVX512-VBMI: 64 exponentials are looked up at once, a byte of theirs after the other.
#include <immintrin.h>

#include "softmax/softmax_loop.h"

namespace qsparse {
namespace {

constexpr int32_t kRegisterBytes = 64;
constexpr int32_t kFloatBytes = 4;
constexpr int32_t kQuarters = kSoftmaxValues / kRegisterBytes;

// Byte b of every value of the table.
struct BytesOfTable {
  __m512i quarter[kFloatBytes][kQuarters];

  explicit BytesOfTable(const uint8_t* bytes) {
    QSPARSE_UNROLL
    for (int b = 0; b < kFloatBytes; ++b) {
      QSPARSE_UNROLL
      for (int32_t q = 0; q < kQuarters; ++q, bytes += kRegisterBytes) {
        quarter[b][q] = _mm512_loadu_si512(bytes);
      }
    }
  }

  __m512i Find(int b, __m512i index, __mmask64 upper) const {
    return _mm512_mask_blend_epi8(
        upper, _mm512_permutex2var_epi8(quarter[b][0], index, quarter[b][1]),
        _mm512_permutex2var_epi8(quarter[b][2], index, quarter[b][3]));
  }
};

// The exponentials of a row.
void LookUpRow(const BytesOfTable& table, const int8_t* input, int32_t columns,
               float* values) {
  const __m512i shift =
      _mm512_set1_epi8(static_cast<int8_t>(kSoftmaxValues - 1 - Largest(input, columns)));
  // Unpacking works within 16 bytes: what ends there has to begin there.
  const __m512i order =
      _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  for (int32_t i = 0; i < columns; i += kRegisterBytes) {
    const int32_t left = columns - i;
    const __mmask64 mask =
        left >= kRegisterBytes ? ~__mmask64{0} : (__mmask64{1} << left) - 1;
    const __m512i index = _mm512_permutexvar_epi32(
        order, _mm512_add_epi8(_mm512_maskz_loadu_epi8(mask, input + i), shift));
    const __mmask64 upper = _mm512_movepi8_mask(index);
    const __m512i bytes[kFloatBytes] = {
        table.Find(0, index, upper), table.Find(1, index, upper),
        table.Find(2, index, upper), table.Find(3, index, upper)};
    const __m512i low[2] = {_mm512_unpacklo_epi8(bytes[0], bytes[1]),
                            _mm512_unpackhi_epi8(bytes[0], bytes[1])};
    const __m512i high[2] = {_mm512_unpacklo_epi8(bytes[2], bytes[3]),
                             _mm512_unpackhi_epi8(bytes[2], bytes[3])};
    const __m512i floats[kFloatBytes] = {_mm512_unpacklo_epi16(low[0], high[0]),
                                         _mm512_unpackhi_epi16(low[0], high[0]),
                                         _mm512_unpacklo_epi16(low[1], high[1]),
                                         _mm512_unpackhi_epi16(low[1], high[1])};
    QSPARSE_UNROLL
    for (int k = 0; k < kFloatBytes; ++k) {
      const int32_t at = k * kRegisterBytes / kFloatBytes;
      if (at >= left) break;
      const int32_t n = left - at;
      const auto lanes = static_cast<__mmask16>(n >= 16 ? 0xffff : (1u << n) - 1);
      _mm512_mask_storeu_epi32(values + i + at, lanes, floats[k]);
    }
  }
}

// As Normalize of softmax_loop.h.
void NormalizeRow(const float* values, float sum, int32_t columns, int8_t* output) {
  const __m512 factor = _mm512_set1_ps(1.0f / (sum * kSoftmaxScale));
  const __m512i zero_point = _mm512_set1_epi32(kSoftmaxZeroPoint);
  const __m512i one = _mm512_set1_epi32(1);
  constexpr int32_t kFloats = kRegisterBytes / kFloatBytes;
  for (int32_t i = 0; i < columns; i += kFloats) {
    const int32_t left = columns - i;
    const auto lanes =
        static_cast<__mmask16>(left >= kFloats ? 0xffff : (1u << left) - 1);
    const __m512 value = _mm512_mul_ps(_mm512_maskz_loadu_ps(lanes, values + i), factor);
    const __m512i whole = _mm512_cvttps_epi32(value);
    const __mmask16 up = _mm512_cmp_ps_mask(
        _mm512_sub_ps(value, _mm512_cvtepi32_ps(whole)), _mm512_set1_ps(0.5f), _CMP_GE_OQ);
    const __m512i steps = _mm512_add_epi32(whole, zero_point);
    _mm_mask_storeu_epi8(output + i, lanes,
                         _mm512_cvtsepi32_epi8(
                             _mm512_mask_add_epi32(steps, up, steps, one)));
  }
}

template <int kRows>
void SoftmaxOfLookedUpRows(const SoftmaxArgs& a, const BytesOfTable& table, int32_t row) {
  const auto columns = static_cast<size_t>(a.columns);
  const size_t first = static_cast<size_t>(row) * columns;
  __m128 sum[kRows];
  QSPARSE_UNROLL
  for (int r = 0; r < kRows; ++r) {
    LookUpRow(table, a.input + first + r * columns, a.columns, a.scratch + r * columns);
    sum[r] = _mm_setzero_ps();
  }
  // Added one after the other, so rows go side by side.
  const float* values = a.scratch;
  for (int32_t i = 0; i < a.columns; ++i, ++values) {
    QSPARSE_UNROLL
    for (int r = 0; r < kRows; ++r) {
      sum[r] = _mm_add_ss(sum[r], _mm_load_ss(values + r * columns));
    }
  }
  for (int r = 0; r < kRows; ++r) {
    NormalizeRow(a.scratch + r * columns, _mm_cvtss_f32(sum[r]), a.columns,
                 a.output + first + r * columns);
  }
}

void SoftmaxByBytes(const SoftmaxArgs& a) {
  const BytesOfTable table(a.bytes);
  int32_t row = 0;
  for (; row + kSoftmaxRows <= a.rows; row += kSoftmaxRows) {
    SoftmaxOfLookedUpRows<kSoftmaxRows>(a, table, row);
  }
  for (; row < a.rows; ++row) SoftmaxOfLookedUpRows<1>(a, table, row);
}

}  // namespace

SoftmaxFunction GetVbmiSoftmax();

SoftmaxFunction GetVbmiSoftmax() { return &SoftmaxByBytes; }

}  // namespace qsparse
