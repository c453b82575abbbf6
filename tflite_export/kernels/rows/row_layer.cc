#include "rows/row_layer.h"

#include <algorithm>

#include "base/shared_weights.h"

namespace qsparse {
namespace {

template <typename T>
T CeilDiv(T value, T divisor) {
  return (value + divisor - 1) / divisor;
}

}  // namespace

bool RowLayer::Plan(const Layer& layer) {
  // Positions are computed one by one, nothing is rounded up or masked.
  Kernel single = {};
  single.lanes = 1;
  if (!MakeGeometry(layer, single, /*in_place=*/false, &geometry_)) return false;
  channels_ = layer.channels;
  outputs_ = layer.outputs;
  groups_ = CeilDiv(layer.outputs, kernel_.outputs);
  lines_ = CeilDiv(channels_, kLineChannels);
  const size_t positions = static_cast<size_t>(geometry_.positions()) + kernel_.max_rows;
  return positions * lines_ * kernel_.line_bytes() <=
         std::min<size_t>(kMaxBufferBytes, INT32_MAX);
}

// What a kernel tap looks at may belong to another tile: an image lies line after
// line. With one tap every tile lies by itself, in as few pages as can be.
bool RowLayer::PlacePositions() {
  size_t positions = 0;
  if (geometry_.pointwise) {
    for (const Tile& tile : tiles_) line_stride_ = std::max(line_stride_, tile.rows);
    positions = tiles_.size() * line_stride_;
  } else {
    // An odd number, so that the lines of a tile fall into all cache sets.
    line_stride_ = geometry_.positions() | 1;
    positions = line_stride_;
  }
  for (size_t i = 0; i < tiles_.size(); ++i) {
    tiles_[i].place = geometry_.pointwise ? i * line_stride_ * lines_
                                          : static_cast<size_t>(tiles_[i].first);
  }
  packed_ = AllocateAligned(positions * lines_ * kernel_.line_bytes());
  return packed_ != nullptr;
}

// A tile starts at an output and ends at one: what lies between the rows of an
// image is computed only where a tile reaches over it. Returns the rows computed.
int64_t RowLayer::CutTiles(int32_t tallest) {
  const int32_t computed = geometry_.computed();
  int64_t rows = 0;
  tiles_.clear();
  for (int32_t first = 0; first < computed;) {
    if (geometry_.target[first] < 0) {
      ++first;
      continue;
    }
    int32_t end = std::min(computed, first + tallest);
    while (geometry_.target[end - 1] < 0) --end;
    tiles_.push_back({first, end - first, 0});
    rows += end - first;
    first = end;
  }
  return rows;
}

// Tall tiles load weights less often; but one that leaves the first-level cache
// loads every line of activations anew for every group of outputs. Costs are in
// products of an entry and a row.
void RowLayer::ChooseTiles(int64_t entries) {
  constexpr double kTileBytes = 32 * 1024;
  constexpr double kLoadEntry = 8, kRequantize = 1, kLoadLine = 1;
  const double entries_per_line =
      static_cast<double>(entries) / (static_cast<double>(groups_) * lines_ *
                                      static_cast<double>(geometry_.shift.size()));
  int32_t best = 0;
  double least = 0;
  for (int32_t tallest = kernel_.max_rows; tallest > 0; --tallest) {
    const double rows = static_cast<double>(CutTiles(tallest));
    const double tiles = static_cast<double>(tiles_.size());
    const bool spills = rows / tiles * lines_ * kernel_.line_bytes() > kTileBytes;
    const double cost = rows * (entries_per_line + (spills ? kLoadLine : 0)) +
                        tiles * (entries_per_line * kLoadEntry + kRequantize);
    // Among equals the lower, which are nearer to one height.
    if (best != 0 && cost > least) continue;
    least = cost;
    best = tallest;
  }
  CutTiles(best);
}

bool RowLayer::Fits(const Layer& layer, const RowKernel& kernel, ThreadPool* pool) {
  return RowLayer(kernel, pool).Plan(layer);
}

std::unique_ptr<RowLayer> RowLayer::Create(const Layer& layer, const RowKernel& kernel,
                                           bool all_weights, ThreadPool* pool) {
  std::unique_ptr<RowLayer> packed(new RowLayer(kernel, pool));
  if (!packed->Plan(layer) || !packed->PackWeights(layer, all_weights)) return nullptr;
  packed->output_zero_point_ = static_cast<int8_t>(layer.output_zero_point);
  packed->output_min_ = static_cast<int8_t>(layer.output_min);
  packed->output_max_ = static_cast<int8_t>(layer.output_max);
  return packed;
}

std::shared_ptr<const RowLayer::Entries> RowLayer::MakeEntries(const Layer& layer,
                                                               bool all_weights,
                                                               size_t count) const {
  auto entries = std::make_shared<Entries>();
  entries->packed = AllocateAligned(count * kernel_.entry_bytes);
  if (entries->packed == nullptr) return nullptr;
  std::vector<int32_t> tap_shift;
  for (const int32_t shift : geometry_.shift) {
    tap_shift.push_back(shift * kernel_.line_bytes());
  }
  entries->lists = PackEntries(layer, kernel_, all_weights,
                               int64_t{line_stride_} * kernel_.line_bytes(), tap_shift,
                               entries->packed.get());
  return entries;
}

bool RowLayer::PackWeights(const Layer& layer, bool all_weights) {
  const size_t count = CountEntries(layer, kernel_, all_weights);
  ChooseTiles(count);
  if (!PlacePositions()) return false;
  static auto* const shared = new SharedWeights<Entries>;  // outlives all delegates
  Fingerprinter key;
  key.Add(reinterpret_cast<intptr_t>(&kernel_));
  for (const int64_t number :
       {int64_t{all_weights}, int64_t{outputs_}, int64_t{channels_},
        int64_t{layer.kernel_height}, int64_t{layer.kernel_width},
        int64_t{line_stride_}}) {
    key.Add(number);
  }
  key.Add(geometry_.shift);
  key.Add(layer.weights, static_cast<size_t>(outputs_) * layer.taps() * channels_);
  entries_ = shared->Get(key.value(),
                         [&] { return MakeEntries(layer, all_weights, count); });
  if (entries_ == nullptr) return false;

  pad_row_.assign(channels_, static_cast<int8_t>(layer.input_zero_point));
  bias_.assign(static_cast<size_t>(groups_) * kernel_.outputs, 0);
  scale_.assign(bias_.size(), 0.0f);
  const uint32_t input_offset = layer.input_zero_point + kernel_.input_offset;
  const size_t row = static_cast<size_t>(layer.taps()) * channels_;
  for (int32_t n = 0; n < outputs_; ++n) {
    const int8_t* weights = layer.weights + n * row;
    // Wraps like the accumulators do.
    uint32_t sum = 0;
    for (size_t k = 0; k < row; ++k) sum += static_cast<uint32_t>(weights[k]);
    bias_[n] = static_cast<int32_t>(static_cast<uint32_t>(layer.bias[n]) -
                                    sum * input_offset);
    scale_[n] = layer.scale[n];
  }
  ChooseChunks();
  return true;
}

// The weights of a chunk stay in the second-level cache while all tiles use them.
// With few tiles, threads need more chunks to share.
void RowLayer::ChooseChunks() {
  constexpr int64_t kChunkBytes = 256 * 1024;
  const int64_t entry_bytes = kernel_.entry_bytes + sizeof(int32_t);
  const int64_t bytes = entries_->lists.list_begin.back() * entry_bytes;
  const int32_t tiles = static_cast<int32_t>(tiles_.size());
  const int32_t threads = pool_->threads();
  int64_t chunks = tiles == 1 ? 1 : CeilDiv(bytes, kChunkBytes);
  if (threads > 1) chunks = std::max<int64_t>(chunks, CeilDiv(4 * threads, tiles));
  chunks = std::clamp<int64_t>(chunks, 1, groups_);
  for (int64_t i = 0; i <= chunks; ++i) {
    chunk_begin_.push_back(static_cast<int32_t>(i * groups_ / chunks));
  }
}

void RowLayer::PackPositions(const int8_t* input, int32_t first, int32_t count,
                             size_t place) {
  PackArgs args;
  args.input = input;
  args.channels = channels_;
  args.source = geometry_.source.data() + first;
  args.positions = count;
  args.pad_row = pad_row_.data();
  args.packed = packed_.get() + place * kernel_.line_bytes();
  args.plane_stride = static_cast<size_t>(line_stride_) * kernel_.line_bytes();
  kernel_.pack(args);
}

void RowLayer::RunImage(const int8_t* input, int8_t* output) {
  // Waking others costs more than packing a small image.
  constexpr int64_t kParallelBytes = 128 * 1024;
  const int32_t positions = geometry_.positions();
  const int32_t parts =
      int64_t{positions} * channels_ < kParallelBytes ? 1 : pool_->threads();
  const int32_t tiles = static_cast<int32_t>(tiles_.size());
  const int32_t pieces = geometry_.pointwise ? tiles : positions;
  pool_->Run(parts, [&](int32_t part, int32_t) {
    const auto begin_of = [&](int64_t index) {
      return static_cast<int32_t>(index * pieces / parts);
    };
    const int32_t first = begin_of(part);
    const int32_t last = begin_of(int64_t{part} + 1);
    if (!geometry_.pointwise) return PackPositions(input, first, last - first, first);
    for (int32_t i = first; i < last; ++i) {
      PackPositions(input, tiles_[i].first, tiles_[i].rows, tiles_[i].place);
    }
  });

  const int32_t chunks = static_cast<int32_t>(chunk_begin_.size()) - 1;
  pool_->Run(tiles * chunks, [&](int32_t task, int32_t) {
    const Tile& tile = tiles_[task % tiles];
    const int32_t first = chunk_begin_[task / tiles];
    const int32_t last = chunk_begin_[task / tiles + 1];
    RowArgs args;
    args.packed = packed_.get() + tile.place * kernel_.line_bytes();
    args.entries = entries_->packed.get();
    args.list_begin = entries_->lists.list_begin.data() + first;
    args.offsets = entries_->lists.offsets.data();
    args.offset_begin = entries_->lists.offset_begin.data() + first;
    args.groups = last - first;
    args.outputs = std::min(outputs_, last * kernel_.outputs) - first * kernel_.outputs;
    args.bias = bias_.data() + first * kernel_.outputs;
    args.scale = scale_.data() + first * kernel_.outputs;
    args.zero_point = output_zero_point_;
    args.min = output_min_;
    args.max = output_max_;
    args.rows = tile.rows;
    args.target = geometry_.target.data() + tile.first;
    args.output = output + first * kernel_.outputs;
    args.row_stride = outputs_;
    kernel_.compute(args);
  });
}

size_t RowLayer::input_bytes() const {
  return static_cast<size_t>(geometry_.images) * geometry_.in_rows * channels_;
}

size_t RowLayer::output_bytes() const {
  return static_cast<size_t>(geometry_.images) * geometry_.out_rows * outputs_;
}

void RowLayer::Run(const int8_t* input, int8_t* output) {
  for (int32_t image = 0; image < geometry_.images; ++image) {
    RunImage(input + static_cast<size_t>(image) * geometry_.in_rows * channels_,
             output + static_cast<size_t>(image) * geometry_.out_rows * outputs_);
  }
}

}  // namespace qsparse
