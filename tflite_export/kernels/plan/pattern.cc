#include "plan/pattern.h"

#include <algorithm>
#include <cstddef>
#include <vector>

#include "base/nonzero_bits.h"
#include "blocks/kernel.h"

namespace qsparse {
namespace {

constexpr int32_t kWord = 64;

struct GroupSize {
  int32_t kept;
  int32_t of;
  double density() const { return static_cast<double>(kept) / of; }
};

// Sparsest first and, among equals, small before large: the tightest wins.
constexpr GroupSize kGroupSizes[] = {{4, 64}, {1, 8},   {8, 64}, {12, 64}, {1, 4},
                                     {2, 8},  {4, 16},  {16, 64}, {1, 2},  {2, 4},
                                     {4, 8},  {8, 16}};

// Outputs of a block, largest first.
constexpr int32_t kBlockOutputs[] = {32, 16, 8};

// Flags in rows, a row being whole words of which only `columns` bits count.
struct BitRows {
  BitRows(int64_t count, int32_t width)
      : columns(width),
        words((width + kWord - 1) / kWord),
        bits(static_cast<size_t>(count) * words) {}

  uint64_t* row(int64_t i) { return bits.data() + i * words; }
  const uint64_t* row(int64_t i) const { return bits.data() + i * words; }
  int64_t rows() const { return static_cast<int64_t>(bits.size()) / words; }
  int64_t set() const {
    int64_t count = 0;
    for (const uint64_t word : bits) count += CountBits(word);
    return count;
  }
  double share() const {
    const double all = static_cast<double>(rows()) * columns;
    return all == 0 ? 1.0 : static_cast<double>(set()) / all;
  }

  int32_t columns;
  int32_t words;
  std::vector<uint64_t> bits;
};

// True when every aligned run of `size.of` flags has at most `size.kept` set.
bool Fits(const BitRows& present, GroupSize size) {
  if (present.columns % size.of != 0) return false;
  const uint64_t run = LowBits(size.of);
  for (const uint64_t word : present.bits) {
    for (int32_t i = 0; i < kWord; i += size.of) {
      if (CountBits(word >> i & run) > size.kept) return false;
    }
  }
  return true;
}

// Empty when no N:M describes the flags, or one only because they are few.
std::string FindGroups(const BitRows& present, double density) {
  constexpr double kFull = 0.75;
  for (const GroupSize size : kGroupSizes) {
    if (density >= kFull * size.density() && Fits(present, size)) {
      return std::to_string(size.kept) + ":" + std::to_string(size.of);
    }
  }
  return "";
}

// One row per output and tap, one flag per channel.
BitRows WeightBits(const Layer& layer) {
  const int64_t rows = int64_t{layer.outputs} * layer.taps();
  BitRows present(rows, layer.channels);
  for (int64_t i = 0; i < rows; ++i) {
    const int8_t* weights = layer.weights + i * layer.channels;
    for (int32_t word = 0; word < present.words; ++word) {
      const int32_t first = word * kWord;
      present.row(i)[word] =
          NonzeroBits(weights + first, std::min(kWord, layer.channels - first));
    }
  }
  return present;
}

// One row per group of outputs and tap, one flag per quad of channels.
BitRows BlockBits(const Layer& layer, const BitRows& weights) {
  const int32_t groups = (layer.outputs + kBlock - 1) / kBlock;
  BitRows present(int64_t{groups} * layer.taps(),
                  (layer.channels + kBlock - 1) / kBlock);
  for (int32_t n = 0; n < layer.outputs; ++n) {
    for (int32_t tap = 0; tap < layer.taps(); ++tap) {
      const uint64_t* from = weights.row(int64_t{n} * layer.taps() + tap);
      uint64_t* to = present.row(int64_t{n / kBlock} * layer.taps() + tap);
      for (int32_t word = 0; word < weights.words; ++word) {
        const int32_t first = word * (kWord / kBlock);
        to[first / kWord] |= NonzeroQuads(from[word]) << first % kWord;
      }
    }
  }
  return present;
}

// How many outputs share every block: blocks of 4 outputs come equal in groups.
int32_t SharedOutputs(const Layer& layer, const BitRows& blocks) {
  const size_t group = static_cast<size_t>(layer.taps()) * blocks.words;
  for (const int32_t outputs : kBlockOutputs) {
    if (layer.outputs % outputs != 0) continue;
    bool equal = true;
    for (size_t i = group; i < blocks.bits.size() && equal; ++i) {
      const bool first_of_block = i / group % (outputs / kBlock) == 0;
      equal = first_of_block || blocks.bits[i] == blocks.bits[i - group];
    }
    if (equal) return outputs;
  }
  return kBlock;
}

}  // namespace

Pattern FindPattern(const Layer& layer) {
  // Fewer zeros than this are accidents of rounding, not a pattern.
  constexpr double kAccidental = 0.9;
  // Scattered weights leave blocks empty too, once they are few.
  constexpr double kFilled = 0.5;

  const BitRows weights = WeightBits(layer);
  const BitRows blocks = BlockBits(layer, weights);
  Pattern pattern;
  pattern.density = weights.share();
  pattern.block_density = blocks.share();
  pattern.blocks = blocks.set();
  if (pattern.block_density < kAccidental &&
      pattern.density >= kFilled * pattern.block_density) {
    const std::string grouped = FindGroups(blocks, pattern.block_density);
    pattern.name = (grouped.empty() ? "" : grouped + " ") +
                   std::to_string(SharedOutputs(layer, blocks)) + "x4";
  } else if (pattern.density < kAccidental) {
    const std::string grouped = FindGroups(weights, pattern.density);
    pattern.name = grouped.empty() ? "unstructured" : grouped;
  } else {
    pattern.name = "dense";
  }
  return pattern;
}

}  // namespace qsparse
