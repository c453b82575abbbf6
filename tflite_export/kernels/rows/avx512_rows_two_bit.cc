// AVX512-VNNI with VBMI, for weights that must be read from far away: an entry has
// one nonzero of every four inputs, 16 inputs in all, and two bits for its place.
// Twice as many nonzeros (2:4) are two entries.
#include "rows/avx512_rows.h"

namespace qsparse {
namespace {

constexpr int kRun = 4;
constexpr int kSlots = 4;  // runs of a window
constexpr int kLaneOutputs = 4;

// An output's four indices are one byte. All 128-bit lanes receive the 16 bytes of
// all outputs, and every 64-bit half lane takes its two outputs out of the half it
// sees: outputs 0 and 1 of all lanes come first, then outputs 2 and 3.
constexpr int IndexByte(int output) {
  return output % kLaneOutputs / 2 * 8 + output / kLaneOutputs * 2 + output % 2;
}

// Bit offsets, within a half lane, of the indices of its eight products.
inline __m512i IndexShifts() {
  const __m512i slots = _mm512_set1_epi64(0x0e0c0a0806040200);
  return _mm512_add_epi8(slots, _mm512_setr_epi64(0, 0, 0x1010101010101010,
                                                  0x1010101010101010,
                                                  0x2020202020202020,
                                                  0x2020202020202020,
                                                  0x3030303030303030,
                                                  0x3030303030303030));
}

struct TwoBitEntry {
  static constexpr int kBytes = kRegisterBytes + kOutputs;

  explicit TwoBitEntry(const uint8_t* bytes)
      : weights(_mm512_loadu_si512(bytes)),
        places(Places(
            _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes + kRegisterBytes)))) {
  }

  // Two bits of an index, and the run it counts in: slot s chooses of bytes 4s...
  static __m512i Places(__m128i indices) {
    constexpr int kAndThenOr = 0xea;
    const __m512i low =
        _mm512_multishift_epi64_epi8(IndexShifts(), _mm512_broadcast_i32x4(indices));
    return _mm512_ternarylogic_epi32(low, _mm512_set1_epi8(3),
                                     _mm512_set1_epi32(0x0c080400), kAndThenOr);
  }

  __m512i Multiply(const uint8_t* x, __m512i acc) const {
    const __m512i window =
        _mm512_broadcast_i32x4(_mm_load_si128(reinterpret_cast<const __m128i*>(x)));
    return _mm512_dpbusd_epi32(acc, _mm512_shuffle_epi8(window, places), weights);
  }

  __m512i weights, places;
};

void PackEntry(const int8_t* weights, const uint8_t* indices, uint8_t* packed) {
  std::memcpy(packed, weights, kRegisterBytes);
  for (int o = 0; o < kOutputs; ++o) {
    uint8_t bits = 0;
    for (int s = 0; s < kSlots; ++s) bits |= indices[o * kSlots + s] << (2 * s);
    packed[kRegisterBytes + IndexByte(o)] = bits;
  }
}

}  // namespace

// Beside `fine`: places of two bits take longer to unpack and less time to arrive.
extern const RowKernel kAvx512TwoBitKernel;
const RowKernel kAvx512TwoBitKernel = {
    "two_bit", Isa::kAvx512Vnni, /*needs_vbmi=*/true, /*max_positions=*/8, kMaxRows,
    kOutputs, /*window=*/16, kRun, /*kept=*/1, /*channel_bytes=*/1,
    /*input_offset=*/128, TwoBitEntry::kBytes,
    /*rates=*/{220, 110, 4, 900, 250e3, /*row_on_intel=*/155},
    PackEntry, PackRows, Compute<TwoBitEntry>};

}  // namespace qsparse
