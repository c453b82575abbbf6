// Random numbers that depend on nothing but the seed.
#ifndef QSPARSE_FUZZ_RANDOM_H_
#define QSPARSE_FUZZ_RANDOM_H_

#include <cmath>
#include <cstdint>

namespace qsparse::fuzz {

// SplitMix64: neighbouring seeds give unrelated sequences.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t Bits() {
    state_ += 0x9e3779b97f4a7c15u;
    uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }

  // Both ends included.
  int32_t Int(int32_t low, int32_t high) {
    const uint64_t range = static_cast<uint64_t>(int64_t{high} - low + 1);
    return static_cast<int32_t>(low + static_cast<int64_t>((Bits() >> 32) * range >> 32));
  }

  double Real() { return static_cast<double>(Bits() >> 11) * 0x1p-53; }
  double Real(double low, double high) { return low + (high - low) * Real(); }
  double LogReal(double low, double high) { return low * std::pow(high / low, Real()); }

  // True one time in `times`.
  bool OneIn(int32_t times) { return Int(1, times) == 1; }

  template <typename T, int kCount>
  T Choose(const T (&options)[kCount]) {
    return options[Int(0, kCount - 1)];
  }

 private:
  uint64_t state_;
};

}  // namespace qsparse::fuzz

#endif  // QSPARSE_FUZZ_RANDOM_H_
