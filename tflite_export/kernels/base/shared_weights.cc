#include "base/shared_weights.h"

#include <cstring>
#include <random>

namespace qsparse {
namespace {

constexpr uint64_t kPrime = (uint64_t{1} << 61) - 1;

Fingerprint DrawPoints() {
  std::random_device random;
  Fingerprint points;
  for (uint64_t& point : points) {
    point = (uint64_t{random()} << 32 | random()) % (kPrime - 2) + 2;
  }
  return points;
}

uint64_t Next(uint64_t sum, uint64_t point, uint32_t word) {
  const unsigned __int128 product = static_cast<unsigned __int128>(sum) * point + word;
  const uint64_t folded =
      (static_cast<uint64_t>(product) & kPrime) + static_cast<uint64_t>(product >> 61);
  return folded >= kPrime ? folded - kPrime : folded;
}

}  // namespace

void Fingerprinter::Add(const void* data, size_t bytes) {
  static const Fingerprint points = DrawPoints();
  const auto add = [this](uint32_t word) {
    value_ = {Next(value_[0], points[0], word), Next(value_[1], points[1], word)};
  };
  const auto* const text = static_cast<const uint8_t*>(data);
  for (size_t i = 0; i < bytes; i += sizeof(uint32_t)) {
    uint32_t word = 0;
    std::memcpy(&word, text + i, bytes - i < sizeof(word) ? bytes - i : sizeof(word));
    add(word);
  }
  // Where one thing ends and the next begins matters, too.
  add(static_cast<uint32_t>(bytes));
  add(static_cast<uint32_t>(bytes >> 32));
}

}  // namespace qsparse
