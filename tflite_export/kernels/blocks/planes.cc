#include "blocks/planes.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "base/aligned_buffer.h"

namespace qsparse {
namespace {

constexpr int32_t kVector = kCacheLine / kBlock;  // positions of the widest register

int32_t RoundUp(int32_t value) { return (value + kVector - 1) / kVector * kVector; }

}  // namespace

size_t PlaneFormat::stride() const {
  // Planes an even number of lines apart would fall into few cache sets.
  const size_t lines = RoundUp(before + positions + after) / kVector;
  return (lines | 1) * kCacheLine;
}

void PlaneFormat::Widen(int32_t at_least_before, int32_t at_least_after) {
  before = std::max(before, RoundUp(at_least_before));
  after = std::max(after, at_least_after);
}

std::vector<int32_t> PositionsInOrder(const PlaneFormat& format, int32_t lanes) {
  std::vector<int32_t> order((format.positions + lanes - 1) / lanes * lanes, -1);
  std::iota(order.begin(), order.begin() + format.positions, 0);
  return order;
}

void UnpackPlanes(const Kernel& kernel, const PlaneFormat& format, const uint8_t* data,
                  const std::vector<int32_t>& order, int32_t first, int32_t count,
                  int8_t* rows) {
  UnpackArgs args;
  args.stride = format.stride();
  args.flip = FlipOf(kernel);
  args.target = order.data() + first;
  args.positions = count;
  args.row_stride = format.channels;
  for (int32_t quad = 0; quad < format.quads(); quad += kGroupsPerBatch) {
    args.computed = format.At(data, quad) + static_cast<size_t>(first) * kBlock;
    args.groups = std::min(kGroupsPerBatch, format.quads() - quad);
    args.bytes = std::min(args.groups * kBlock, format.channels - quad * kBlock);
    args.output = rows + quad * kBlock;
    kernel.unpack(args);
  }
}

void FillBefore(const PlaneFormat& format, int32_t first, int32_t last, uint8_t* data) {
  for (int32_t quad = first; quad < last; ++quad) {
    const size_t bytes = static_cast<size_t>(format.before) * kBlock;
    std::memset(format.At(data, quad) - bytes, format.padding, bytes);
  }
}

void FillAfter(const PlaneFormat& format, int32_t first, int32_t last, uint8_t* data) {
  for (int32_t quad = first; quad < last; ++quad) {
    std::memset(format.At(data, quad) + static_cast<size_t>(format.positions) * kBlock,
                format.padding, static_cast<size_t>(format.after) * kBlock);
  }
}

void CopyEvery(int32_t step, int32_t count, const uint8_t* from, uint8_t* to) {
  int32_t i = 0;
  if (step == 1) {
    std::memcpy(to, from, static_cast<size_t>(count) * kBlock);
    return;
  }
  if (step == 2) {
    // Two positions at a time: the lower halves of eight bytes each, but for the last,
    // behind which nothing may be read.
    for (; i + 2 < count; i += 2) {
      uint64_t first, second;
      std::memcpy(&first, from + static_cast<size_t>(i) * 2 * kBlock, sizeof(first));
      std::memcpy(&second, from + static_cast<size_t>(i + 1) * 2 * kBlock,
                  sizeof(second));
      const uint64_t both = (first & 0xffffffffu) | second << 32;
      std::memcpy(to + static_cast<size_t>(i) * kBlock, &both, sizeof(both));
    }
  }
  for (; i < count; ++i) {
    std::memcpy(to + static_cast<size_t>(i) * kBlock,
                from + static_cast<size_t>(i) * step * kBlock, kBlock);
  }
}

std::vector<CopyRun> FindRuns(const std::vector<int32_t>& map) {
  std::vector<CopyRun> runs;
  const int32_t size = static_cast<int32_t>(map.size());
  for (int32_t p = 0; p < size;) {
    CopyRun run = {p, std::max(map[p], -1), 1, 1};
    if (run.source >= 0 && p + 1 < size && map[p + 1] > run.source) {
      run.step = map[p + 1] - run.source;
    }
    const auto continues = [&](int32_t q) {
      return run.source < 0 ? map[q] < 0 : map[q] == run.source + run.count * run.step;
    };
    while (p + run.count < size && continues(p + run.count)) ++run.count;
    p += run.count;
    runs.push_back(run);
  }
  return runs;
}

std::vector<CopyRun> FindTargets(const std::vector<int32_t>& map, int32_t first,
                             int32_t last) {
  std::vector<CopyRun> runs;
  for (int32_t p = first; p < last; ++p) {
    if (map[p] < 0) continue;
    if (!runs.empty() && p > first && map[p - 1] >= 0 && map[p] == map[p - 1] + 1) {
      ++runs.back().count;
    } else {
      runs.push_back({map[p], p - first, 1, 1});
    }
  }
  return runs;
}

void CopyRuns(const std::vector<CopyRun>& runs, uint8_t padding, const uint8_t* source,
              uint8_t* target) {
  for (const CopyRun& run : runs) {
    uint8_t* to = target + static_cast<size_t>(run.target) * kBlock;
    if (run.source < 0) {
      std::memset(to, padding, static_cast<size_t>(run.count) * kBlock);
      continue;
    }
    const uint8_t* from = source + static_cast<size_t>(run.source) * kBlock;
    CopyEvery(run.step, run.count, from, to);
  }
}

}  // namespace qsparse
