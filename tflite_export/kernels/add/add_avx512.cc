#include <immintrin.h>

#include "add/add_loop.h"

namespace qsparse {
namespace {

constexpr size_t kRegisterBytes = 64;

// Multipliers have up to 22 bits, products of pairs take 15: each is split in two.
class Adder {
 public:
  explicit Adder(const Addition& add)
      : low_(Pair(add.multiplier[0] & kLowMask, add.multiplier[1] & kLowMask)),
        high_(Pair(add.multiplier[0] >> kLowBits, add.multiplier[1] >> kLowBits)),
        bias_(_mm512_set1_epi32(static_cast<int32_t>(add.bias))),
        shift_(_mm_cvtsi32_si128(add.shift)),
        zero_point_(_mm512_set1_epi16(static_cast<int16_t>(add.zero_point))),
        min_(_mm512_set1_epi8(static_cast<char>(add.min))),
        max_(_mm512_set1_epi8(static_cast<char>(add.max))) {}

  __m512i operator()(__m512i a, __m512i b) const {
    const __m512i first = _mm512_unpacklo_epi8(a, b);
    const __m512i second = _mm512_unpackhi_epi8(a, b);
    const __m512i words = _mm512_packus_epi16(Sum(first), Sum(second));
    return _mm512_min_epu8(_mm512_max_epu8(words, min_), max_);
  }

 private:
  static constexpr int kLowBits = 14;
  static constexpr uint32_t kLowMask = (1u << kLowBits) - 1;

  static __m512i Pair(uint32_t a, uint32_t b) {
    return _mm512_set1_epi32(static_cast<int32_t>(a | b << 16));
  }

  // Of pairs of bytes; saturation to 16 bits changes nothing that is not clamped later.
  __m512i Sum(__m512i pairs) const {
    const __m512i zero = _mm512_setzero_si512();
    const __m512i words = _mm512_packs_epi32(Shifted(_mm512_unpacklo_epi8(pairs, zero)),
                                             Shifted(_mm512_unpackhi_epi8(pairs, zero)));
    return _mm512_adds_epi16(words, zero_point_);
  }

  __m512i Shifted(__m512i pairs) const {
    const __m512i high = _mm512_slli_epi32(_mm512_madd_epi16(pairs, high_), kLowBits);
    const __m512i low = _mm512_dpwssd_epi32(bias_, pairs, low_);
    return _mm512_sra_epi32(_mm512_add_epi32(high, low), shift_);
  }

  __m512i low_, high_, bias_;
  __m128i shift_;
  __m512i zero_point_, min_, max_;
};

void AddUnsigned(const Addition& add, const AddArgs& args) {
  const Adder adder(add);
  const size_t whole = args.bytes / kRegisterBytes * kRegisterBytes;
  const __mmask64 rest = (__mmask64{1} << (args.bytes - whole)) - 1;
  for (int32_t plane = 0; plane < args.planes; ++plane) {
    const uint8_t* const a = args.operands[0] + plane * args.strides[0];
    const uint8_t* const b = args.operands[1] + plane * args.strides[1];
    uint8_t* const out = args.out + plane * args.out_stride;
    for (size_t i = 0; i < whole; i += kRegisterBytes) {
      _mm512_storeu_si512(
          out + i, adder(_mm512_loadu_si512(a + i), _mm512_loadu_si512(b + i)));
    }
    if (rest == 0) continue;
    _mm512_mask_storeu_epi8(out + whole, rest,
                            adder(_mm512_maskz_loadu_epi8(rest, a + whole),
                                  _mm512_maskz_loadu_epi8(rest, b + whole)));
  }
}

}  // namespace

AddFunction GetAvx512Add(uint8_t flip) {
  return flip == 0 ? &AddLoop<int8_t> : &AddUnsigned;
}

}  // namespace qsparse
