#include "rows/row_weights.h"

#include <algorithm>
#include <cstddef>

#include "base/nonzero_bits.h"

namespace qsparse {
namespace {

constexpr int32_t kMaxGroup = 16;  // outputs
constexpr int32_t kMaxSlots = 16;

// One line of channels of one tap, for a group of outputs.
struct Line {
  int32_t group;
  int32_t tap;
  int32_t line;
  int32_t outputs;
  const int8_t* weights[kMaxGroup];
  uint64_t present[kMaxGroup];
  uint64_t any;  // present in any output
};

int32_t Lines(const Layer& layer) {
  return (layer.channels + kLineChannels - 1) / kLineChannels;
}

// Calls body(line) for all lines of a group, tap after tap.
template <typename Body>
void ForEachLine(const Layer& layer, const RowKernel& kernel, bool all, int32_t group,
                 const Body& body) {
  Line line;
  line.group = group;
  line.outputs = std::min(kernel.outputs, layer.outputs - group * kernel.outputs);
  const size_t row = static_cast<size_t>(layer.taps()) * layer.channels;
  for (line.tap = 0; line.tap < layer.taps(); ++line.tap) {
    for (line.line = 0; line.line < Lines(layer); ++line.line) {
      const int32_t first = line.line * kLineChannels;
      const int32_t count = std::min(kLineChannels, layer.channels - first);
      const int8_t* weights =
          layer.weights + group * kernel.outputs * row +
          static_cast<size_t>(line.tap) * layer.channels + first;
      line.any = 0;
      for (int32_t o = 0; o < line.outputs; ++o) {
        line.weights[o] = weights + o * row;
        line.present[o] = all ? LowBits(count) : NonzeroBits(line.weights[o], count);
        line.any |= line.present[o];
      }
      if (line.any != 0) body(line);
    }
  }
}

// Where the windows of a line's entries start, in order.
struct Windows {
  void Add(int32_t start) { first[count++] = static_cast<uint8_t>(start); }

  int32_t count = 0;
  uint8_t first[kLineChannels];
};

// As many entries per window as its fullest run asks for.
Windows AlignedWindows(const Line& line, const RowKernel& kernel) {
  const uint64_t run = LowBits(kernel.run);
  Windows windows;
  for (int32_t first = 0; first < kLineChannels; first += kernel.window) {
    if ((line.any >> first & LowBits(kernel.window)) == 0) continue;
    int32_t fullest = kernel.kept == kernel.run ? 1 : 0;
    for (int32_t o = 0; kernel.kept != kernel.run && o < line.outputs; ++o) {
      for (int32_t r = first; r < first + kernel.window; r += kernel.run) {
        fullest = std::max(fullest, CountBits(line.present[o] >> r & run));
      }
    }
    for (int32_t i = 0; i < fullest; i += kernel.kept) windows.Add(first);
  }
  return windows;
}

// Every window starts at the first channel that is left. No choice of windows takes
// fewer: whatever another one that covers this channel holds, is held or done here.
Windows SlidingWindows(const Line& line, const RowKernel& kernel) {
  uint64_t left[kMaxGroup];
  std::copy_n(line.present, line.outputs, left);
  Windows windows;
  for (uint64_t any = line.any; any != 0;) {
    const int32_t first =
        std::min<int32_t>(__builtin_ctzll(any), kLineChannels - kernel.window);
    const uint64_t window = LowBits(kernel.window) << first;
    any = 0;
    for (int32_t o = 0; o < line.outputs; ++o) {
      uint64_t rest = left[o];
      for (int32_t i = 0; i < kernel.kept; ++i) rest &= rest - 1;
      left[o] = rest | (left[o] & ~window);
      any |= left[o];
    }
    windows.Add(first);
  }
  return windows;
}

// No window holds more than `kept` nonzeros of an output.
int32_t FewestWindows(const Line& line, const RowKernel& kernel) {
  int32_t fullest = 0;
  for (int32_t o = 0; o < line.outputs; ++o) {
    fullest = std::max(fullest, CountBits(line.present[o]));
  }
  return (fullest + kernel.kept - 1) / kernel.kept;
}

// Groups with the same windows share their offsets: aligned, unless that costs.
Windows WindowsOf(const Line& line, const RowKernel& kernel) {
  const Windows aligned = AlignedWindows(line, kernel);
  const bool may_slide = kernel.window == kernel.run && kernel.kept < kernel.run &&
                         kernel.window < kLineChannels;
  if (!may_slide || aligned.count == FewestWindows(line, kernel)) return aligned;
  const Windows sliding = SlidingWindows(line, kernel);
  return sliding.count < aligned.count ? sliding : aligned;
}

// Moves the first nonzeros of every run of a window from the line to an entry.
void TakeEntry(const RowKernel& kernel, int32_t first, Line* line, uint8_t* packed) {
  int8_t weights[kMaxGroup * kMaxSlots] = {};
  uint8_t indices[kMaxGroup * kMaxSlots] = {};
  for (int32_t o = 0; o < line->outputs; ++o) {
    int32_t slot = o * kernel.slots();
    for (int32_t r = 0; r < kernel.window; r += kernel.run, slot += kernel.kept) {
      const int8_t* from = line->weights[o] + first + r;
      uint64_t left = line->present[o] >> (first + r) & LowBits(kernel.run);
      for (int32_t i = 0; i < kernel.kept && left != 0; ++i, left &= left - 1) {
        const int32_t channel = __builtin_ctzll(left);
        const int32_t place = slot + (kernel.kept == kernel.run ? channel : i);
        weights[place] = from[channel];
        indices[place] = static_cast<uint8_t>(channel);
        line->present[o] ^= uint64_t{1} << (first + r + channel);
      }
    }
  }
  kernel.pack_entry(weights, indices, packed);
}

}  // namespace

int64_t CountEntries(const Layer& layer, const RowKernel& kernel, bool all) {
  int64_t entries = 0;
  const int32_t groups = (layer.outputs + kernel.outputs - 1) / kernel.outputs;
  for (int32_t group = 0; group < groups; ++group) {
    ForEachLine(layer, kernel, all, group, [&](Line& line) {
      entries += WindowsOf(line, kernel).count;
    });
  }
  return entries;
}

EntryLists PackEntries(const Layer& layer, const RowKernel& kernel, bool all,
                       int64_t line_stride, const std::vector<int32_t>& tap_shift,
                       uint8_t* packed) {
  const int32_t groups = (layer.outputs + kernel.outputs - 1) / kernel.outputs;
  EntryLists lists;
  lists.list_begin.push_back(0);
  std::vector<int32_t> previous, offsets;
  for (int32_t group = 0; group < groups; ++group) {
    offsets.clear();
    ForEachLine(layer, kernel, all, group, [&](Line& line) {
      const Windows windows = WindowsOf(line, kernel);
      for (int32_t i = 0; i < windows.count; ++i, packed += kernel.entry_bytes) {
        const int32_t first = windows.first[i];
        offsets.push_back(static_cast<int32_t>(line.line * line_stride +
                                               tap_shift[line.tap] +
                                               first * kernel.channel_bytes));
        TakeEntry(kernel, first, &line, packed);
      }
    });
    if (group == 0 || offsets != previous) {
      previous = offsets;
      lists.offsets.insert(lists.offsets.end(), offsets.begin(), offsets.end());
    }
    lists.offset_begin.push_back(
        static_cast<uint32_t>(lists.offsets.size() - offsets.size()));
    lists.list_begin.push_back(lists.list_begin.back() +
                               static_cast<uint32_t>(offsets.size()));
  }
  return lists;
}

}  // namespace qsparse
