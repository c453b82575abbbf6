// Which of up to 64 neighbouring weights are not zero, as the bits of a word: what
// patterns are made of is then a matter of masks and population counts.
#ifndef QSPARSE_BASE_NONZERO_BITS_H_
#define QSPARSE_BASE_NONZERO_BITS_H_

#include <cstdint>
#include <cstring>

namespace qsparse {

inline uint64_t NonzeroBits(const int8_t* weights, int32_t count) {
  constexpr uint64_t kLow7 = 0x7f7f7f7f7f7f7f7f;
  constexpr uint64_t kTop = 0x8080808080808080;
  // Moves bit 8i of a word to bit 56 + i.
  constexpr uint64_t kGather = 0x0102040810204080;
  uint64_t bits = 0;
  int32_t i = 0;
  for (; i + 8 <= count; i += 8) {
    uint64_t eight;
    std::memcpy(&eight, weights + i, sizeof(eight));
    const uint64_t flags = (((eight & kLow7) + kLow7) | eight) & kTop;
    bits |= ((flags >> 7) * kGather >> 56) << i;
  }
  for (; i < count; ++i) bits |= static_cast<uint64_t>(weights[i] != 0) << i;
  return bits;
}

// Which of the word's 16 quads have any bit set.
inline uint64_t NonzeroQuads(uint64_t bits) {
  bits |= bits >> 1;
  bits = (bits | bits >> 2) & 0x1111111111111111;
  bits = (bits | bits >> 3) & 0x0303030303030303;
  bits = (bits | bits >> 6) & 0x000f000f000f000f;
  bits = (bits | bits >> 12) & 0x000000ff000000ff;
  return (bits | bits >> 24) & 0xffff;
}

inline int32_t CountBits(uint64_t bits) { return __builtin_popcountll(bits); }

inline uint64_t LowBits(int32_t count) {
  return count >= 64 ? ~uint64_t{0} : (uint64_t{1} << count) - 1;
}

}  // namespace qsparse

#endif  // QSPARSE_BASE_NONZERO_BITS_H_
