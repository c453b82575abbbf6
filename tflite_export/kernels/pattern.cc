#include "pattern.h"

#include <algorithm>
#include <cstddef>
#include <vector>

#include "kernel.h"

namespace qsparse {
namespace {

struct GroupSize {
  int32_t kept;
  int32_t of;
};

// Sparsest first, so that the tightest description wins.
constexpr GroupSize kGroupSizes[] = {{1, 8}, {1, 4}, {2, 8}, {4, 16},
                                     {1, 2}, {2, 4}, {4, 8}, {8, 16}};

// True when every aligned run of `size.of` flags has at most `size.kept` set.
bool Fits(const std::vector<uint8_t>& present, int32_t row, GroupSize size) {
  if (row % size.of != 0) return false;
  for (size_t i = 0; i < present.size(); i += size.of) {
    int32_t kept = 0;
    for (int32_t j = 0; j < size.of; ++j) kept += present[i + j];
    if (kept > size.kept) return false;
  }
  return true;
}

// Rows of `row` flags each; empty when no N:M describes them.
std::string FindGroups(const std::vector<uint8_t>& present, int32_t row) {
  for (const GroupSize size : kGroupSizes) {
    if (Fits(present, row, size)) {
      return std::to_string(size.kept) + ":" + std::to_string(size.of);
    }
  }
  return "";
}

double Share(const std::vector<uint8_t>& present) {
  if (present.empty()) return 1.0;
  const auto set = std::count(present.begin(), present.end(), 1);
  return static_cast<double>(set) / static_cast<double>(present.size());
}

}  // namespace

Pattern FindPattern(const Layer& layer) {
  // Fewer zeros than this are accidents of rounding, not a pattern.
  constexpr double kAccidental = 0.9;

  const int32_t quads = (layer.channels + kBlock - 1) / kBlock;
  const int32_t groups = (layer.outputs + kBlock - 1) / kBlock;
  const size_t row = static_cast<size_t>(layer.taps()) * layer.channels;
  std::vector<uint8_t> weights(row * layer.outputs);
  std::vector<uint8_t> blocks(static_cast<size_t>(groups) * layer.taps() * quads);
  for (int32_t n = 0; n < layer.outputs; ++n) {
    for (int32_t tap = 0; tap < layer.taps(); ++tap) {
      const size_t start = n * row + static_cast<size_t>(tap) * layer.channels;
      const size_t first_block =
          (static_cast<size_t>(n / kBlock) * layer.taps() + tap) * quads;
      for (int32_t c = 0; c < layer.channels; ++c) {
        const uint8_t present = layer.weights[start + c] != 0;
        weights[start + c] = present;
        blocks[first_block + c / kBlock] |= present;
      }
    }
  }

  Pattern pattern;
  pattern.density = Share(weights);
  pattern.block_density = Share(blocks);
  pattern.blocks = std::count(blocks.begin(), blocks.end(), 1);
  if (pattern.block_density < kAccidental) {
    const std::string grouped = FindGroups(blocks, quads);
    pattern.name = grouped.empty() ? "4x4" : grouped + " 4x4";
  } else if (pattern.density < kAccidental) {
    const std::string grouped = FindGroups(weights, layer.channels);
    pattern.name = grouped.empty() ? "unstructured" : grouped;
  } else {
    pattern.name = "dense";
  }
  return pattern;
}

}  // namespace qsparse
