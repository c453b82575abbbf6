// AVX512-VBMI: two registers hold half of the table, and a permutation finds 64 values.
#include <immintrin.h>

#include "bytes/lookup.h"

namespace qsparse {
namespace {

constexpr int64_t kRegisterBytes = 64;

void LookUp(const int8_t* table, const int8_t* input, int64_t count, int8_t* output) {
  // A value below 0, as an unsigned number, is 128 or more, and stands in the first half.
  const __m512i negative[2] = {_mm512_loadu_si512(table), _mm512_loadu_si512(table + 64)};
  const __m512i positive[2] = {_mm512_loadu_si512(table + 128),
                               _mm512_loadu_si512(table + 192)};
  for (int64_t i = 0; i < count; i += kRegisterBytes) {
    const int64_t left = count - i;
    const __mmask64 mask =
        left >= kRegisterBytes ? ~__mmask64{0} : (__mmask64{1} << left) - 1;
    const __m512i value = _mm512_maskz_loadu_epi8(mask, input + i);
    const __m512i below = _mm512_permutex2var_epi8(negative[0], value, negative[1]);
    const __m512i above = _mm512_permutex2var_epi8(positive[0], value, positive[1]);
    _mm512_mask_storeu_epi8(
        output + i, mask,
        _mm512_mask_blend_epi8(_mm512_movepi8_mask(value), above, below));
  }
}

}  // namespace

LookupFunction GetVbmiLookup();

LookupFunction GetVbmiLookup() { return &LookUp; }

}  // namespace qsparse
