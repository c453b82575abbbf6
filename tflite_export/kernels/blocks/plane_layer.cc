#include "blocks/plane_layer.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "blocks/kernel_table.h"

namespace qsparse {
namespace {

// What the activations of a tile may take: a first-level cache of 48 KB.
constexpr int64_t kTileBytes = 48 * 1024;

template <typename T>
T CeilDiv(T value, T divisor) {
  return (value + divisor - 1) / divisor;
}

}  // namespace

std::unique_ptr<PlaneLayer> PlaneLayer::Plan(const Layer& layer, const Kernel& kernel,
                                             bool in_chain, ThreadPool* pool) {
  std::unique_ptr<PlaneLayer> planned(new PlaneLayer(kernel, pool));
  if (!MakeGeometry(layer, kernel, in_chain, &planned->geometry_)) return nullptr;
  planned->channels_ = layer.channels;
  planned->outputs_ = layer.outputs;
  planned->groups_ = CeilDiv(layer.outputs, kBlock);
  // A single tap that strides leaves most positions out.
  planned->splits_phases_ =
      layer.taps() > 1 && (layer.stride_height > 1 || layer.stride_width > 1);
  return planned->ChooseTiles() ? std::move(planned) : nullptr;
}

// Tiles of nearly equal height, none taller than the kernel or the cache allow.
bool PlaneLayer::ChooseTiles() {
  const int64_t quads = CeilDiv(channels_, kBlock);
  const int64_t vector_bytes = quads * kernel_.lanes * kernel_.quad_bytes;
  const int32_t vectors = geometry_.computed() / kernel_.lanes;
  int32_t tallest = kernel_.max_vectors;
  while (tallest > 2 && tallest * vector_bytes > kTileBytes) --tallest;
  const int32_t count = CeilDiv(vectors, tallest);
  for (int64_t i = 0; i <= count; ++i) {
    tile_begin_.push_back(static_cast<int32_t>(i * vectors / count));
  }
  tile_vectors_ = CeilDiv(vectors, count);
  // Offsets of quads are 32-bit numbers; padding between planes is far less than half.
  return quads * kernel_.quad_bytes * (geometry_.positions() + 64) <=
         static_cast<int64_t>(kMaxBufferBytes / 2);
}

void PlaneLayer::WidenInput(PlaneFormat* format) const {
  const int32_t lead = geometry_.Lead();
  if (lead < 0 || kernel_.quad_bytes != kBlock) return;
  format->Widen(lead, geometry_.positions() - lead - geometry_.in_rows);
}

void PlaneLayer::WidenOutput(PlaneFormat* format) const {
  if (!geometry_.ComputesInOrder()) return;
  format->Widen(0, geometry_.computed() - geometry_.out_rows);
}

bool PlaneLayer::Connect(const Layer& layer, const PlaneFormat* input,
                         const PlaneFormat* output) {
  if (input != nullptr) ChooseInput(*input);
  if (output != nullptr) ChooseOutput(*output);
  if (!AllocateBuffers()) return false;
  output_zero_point_ = static_cast<int8_t>(layer.output_zero_point);
  output_min_ = static_cast<int8_t>(layer.output_min);
  output_max_ = static_cast<int8_t>(layer.output_max);
  return true;
}

void PlaneLayer::ChooseInput(const PlaneFormat& format) {
  const int32_t lead = geometry_.Lead();
  input_format_ = format;
  if (splits_phases_) {
    // Single positions are moved faster as rows: by transposing registers, twice.
    input_ = Side::kThroughRows;
    input_order_ = PositionsInOrder(format, ChainKernel(kernel_.isa).lanes);
    return;
  }
  if (lead < 0 || kernel_.quad_bytes != kBlock) {
    input_ = Side::kCopied;
    input_runs_ = FindRuns(geometry_.source);
    return;
  }
  input_ = Side::kInPlace;
  plane_stride_ = format.stride();
  start_ = static_cast<size_t>(format.before - lead) * kBlock;
}

void PlaneLayer::ChooseOutput(const PlaneFormat& format) {
  output_format_ = format;
  output_ = Side::kInPlace;
  if (geometry_.ComputesInOrder()) return;
  output_ = Side::kCopied;
  for (int32_t tile = 0; tile < tiles(); ++tile) {
    output_runs_.push_back(FindTargets(geometry_.target,
                                       tile_begin_[tile] * kernel_.lanes,
                                       tile_begin_[tile + 1] * kernel_.lanes));
  }
}

void PlaneLayer::AddResidual(const Addition& add, const PlaneFormat& residual) {
  add_function_ = GetAdd(kernel_.isa, FlipOf(kernel_));
  addition_ = add;
  residual_format_ = residual;
}

// Where packed positions go, unless they are read in place.
void PlaneLayer::ChoosePackedLayout() {
  // Packing per tile keeps the panel in the first-level cache, but a tile is
  // then the unit of work: with too few of them, threads share one packed image.
  const int32_t threads = pool_->threads();
  panels_ = input_ == Side::kRows && geometry_.pointwise &&
            (tiles() % threads == 0 || tiles() >= 4 * threads);
  const size_t positions =
      panels_ ? tile_vectors_ * kernel_.lanes : geometry_.positions();
  plane_stride_ = positions * kBlock;
  if (kernel_.max_rows == 0) {
    plane_stride_ = CeilDiv(plane_stride_, kCacheLine) * kCacheLine;
    // Planes an even number of lines apart would fall into few cache sets.
    if (!panels_ && plane_stride_ / kCacheLine % 2 == 0) plane_stride_ += kCacheLine;
  }
  quads_bytes_ = plane_stride_ * CeilDiv(channels_, kBlock) * kernel_.quad_bytes / kBlock;
}

bool PlaneLayer::AllocateBuffers() {
  const size_t threads = pool_->threads();
  if (input_ != Side::kInPlace) {
    ChoosePackedLayout();
    packed_ = AllocateAligned(quads_bytes_ * (panels_ ? threads : 1));
    if (packed_ == nullptr) return false;
  }
  if (input_ == Side::kThroughRows) {
    rows_ = AllocateAligned(static_cast<size_t>(geometry_.in_rows) * channels_);
    if (rows_ == nullptr) return false;
  }
  if (output_ == Side::kInPlace) return true;
  scratch_bytes_ =
      static_cast<size_t>(kGroupsPerBatch) * tile_vectors_ * kernel_.lanes * kBlock;
  scratch_ = AllocateAligned(scratch_bytes_ * threads);
  return scratch_ != nullptr;
}

void PlaneLayer::PackPositions(const int8_t* input, int32_t first, int32_t count,
                                uint8_t* packed) const {
  PackArgs args;
  args.input = input;
  args.channels = channels_;
  args.source = geometry_.source.data() + first;
  args.positions = count;
  args.pad_row = pad_row_.data();
  args.packed = packed;
  args.plane_stride = plane_stride_;
  kernel_.pack(args);
}

void PlaneLayer::ComputeTile(int32_t tile, int32_t first_group, int32_t last_group,
                             const uint8_t* packed, int8_t* output,
                             int32_t thread) const {
  const int32_t first_position = tile_begin_[tile] * kernel_.lanes;
  const int32_t vectors = tile_begin_[tile + 1] - tile_begin_[tile];
  ComputeArgs compute;
  compute.packed = packed;
  compute.offsets = blocks_->offsets.data();
  compute.weights = blocks_->weights.data();
  compute.zero_point = output_zero_point_;
  compute.min = output_min_;
  compute.max = output_max_;
  compute.flip = output_ == Side::kRows ? 0 : FlipOf(kernel_);
  compute.half_stride = plane_stride_;
  compute.columns = geometry_.columns;
  compute.mask_stride = geometry_.computed() / kernel_.lanes;
  compute.masks =
      geometry_.masks.empty() ? nullptr : geometry_.masks.data() + tile_begin_[tile];
  compute.padding = padding_;
  compute.vectors = vectors;
  compute.out = scratch_.get() + thread * scratch_bytes_;
  compute.out_stride = output_ == Side::kInPlace
                           ? output_format_.stride()
                           : static_cast<size_t>(vectors) * kernel_.lanes * kBlock;

  UnpackArgs unpack;
  unpack.computed = compute.out;
  unpack.stride = compute.out_stride;
  unpack.flip = 0;
  unpack.target = geometry_.target.data() + first_position;
  unpack.positions = vectors * kernel_.lanes;
  unpack.row_stride = outputs_;
  uint8_t* const planes = reinterpret_cast<uint8_t*>(output);
  for (int32_t g = first_group; g < last_group; g += kGroupsPerBatch) {
    compute.groups = std::min(kGroupsPerBatch, last_group - g);
    compute.list_begin = blocks_->list_begin.data() + g * geometry_.columns;
    compute.bias = bias_.data() + g * kBlock;
    compute.scale = scale_.data() + g * kBlock;
    if (output_ == Side::kInPlace) {
      compute.out =
          output_format_.At(planes, g) + static_cast<size_t>(first_position) * kBlock;
    }
    kernel_.compute(compute);
    if (output_ != Side::kRows) {
      if (add_function_ != nullptr) AddTile(tile, g, g + compute.groups, planes);
      FinishPlanes(tile, g, g + compute.groups, compute.out, planes);
      continue;
    }
    unpack.groups = compute.groups;
    unpack.bytes = std::min(compute.groups * kBlock, outputs_ - g * kBlock);
    unpack.output = output + g * kBlock;
    kernel_.unpack(unpack);
  }
}

// The tile is still in the first-level cache.
void PlaneLayer::AddTile(int32_t tile, int32_t first_group, int32_t last_group,
                         uint8_t* output) const {
  const size_t begin = static_cast<size_t>(tile_begin_[tile]) * kernel_.lanes * kBlock;
  const size_t end = static_cast<size_t>(tile_begin_[tile + 1]) * kernel_.lanes * kBlock;
  AddArgs args;
  args.out = output_format_.At(output, first_group) + begin;
  args.out_stride = output_format_.stride();
  args.operands[0] = args.out;
  args.operands[1] = residual_format_.At(residual_, first_group) + begin;
  args.strides[0] = args.out_stride;
  args.strides[1] = residual_format_.stride();
  args.planes = last_group - first_group;
  args.bytes = end - begin;
  add_function_(addition_, args);
}

// What is left to do once a tile of planes is computed.
void PlaneLayer::FinishPlanes(int32_t tile, int32_t first_group, int32_t last_group,
                              const uint8_t* computed, uint8_t* output) const {
  if (output_ == Side::kCopied) {
    const size_t stride = static_cast<size_t>(tile_begin_[tile + 1] - tile_begin_[tile]) *
                          kernel_.lanes * kBlock;
    for (int32_t g = first_group; g < last_group; ++g, computed += stride) {
      CopyRuns(output_runs_[tile], output_format_.padding, computed,
               output_format_.At(output, g));
    }
  }
  if (tile == 0) FillBefore(output_format_, first_group, last_group, output);
  if (tile + 1 == tiles()) FillAfter(output_format_, first_group, last_group, output);
}

// One plane of a tensor, copied to where the kernel's taps find it.
void PlaneLayer::CopyPlane(const uint8_t* input, int32_t quad) const {
  const uint8_t* const from = input_format_.At(input, quad);
  if (kernel_.quad_bytes == kBlock) {
    CopyRuns(input_runs_, input_format_.padding, from,
             packed_.get() + quad * plane_stride_);
    return;
  }
  // The bytes go where the second halves will be, and are widened from there.
  uint8_t* const first = packed_.get() + 2 * quad * plane_stride_;
  uint8_t* const second = first + plane_stride_;
  CopyRuns(input_runs_, input_format_.padding, from, second);
  for (int32_t p = 0; p < geometry_.positions() * kBlock; p += kBlock) {
    int8_t bytes[kBlock];
    std::memcpy(bytes, second + p, kBlock);
    const int16_t wide[kBlock] = {bytes[0], bytes[1], bytes[2], bytes[3]};
    std::memcpy(first + p, wide, kBlock);
    std::memcpy(second + p, wide + 2, kBlock);
  }
}

void PlaneLayer::UnpackInput(const uint8_t* input) const {
  const Kernel& kernel = ChainKernel(kernel_.isa);
  const int32_t vectors = static_cast<int32_t>(input_order_.size()) / kernel.lanes;
  const int32_t parts = std::min(vectors, pool_->threads());
  pool_->Run(parts, [&](int32_t part, int32_t) {
    const auto begin_of = [&](int64_t index) {
      return static_cast<int32_t>(index * vectors / parts) * kernel.lanes;
    };
    const int32_t first = begin_of(part);
    UnpackPlanes(kernel, input_format_, input, input_order_, first,
                 begin_of(int64_t{part} + 1) - first,
                 reinterpret_cast<int8_t*>(rows_.get()));
  });
}

// Returns the first position, once the input is packed or copied if it has to be.
const uint8_t* PlaneLayer::PrepareInput(const int8_t* input) const {
  const uint8_t* const planes = reinterpret_cast<const uint8_t*>(input);
  if (input_ == Side::kInPlace) return planes + start_;
  if (input_ == Side::kCopied) {
    pool_->Run(input_format_.quads(),
               [&](int32_t quad, int32_t) { CopyPlane(planes, quad); });
    return packed_.get();
  }
  if (input_ == Side::kThroughRows) {
    UnpackInput(planes);
    input = reinterpret_cast<const int8_t*>(rows_.get());
  }
  // Waking others costs more than packing a small image.
  constexpr int64_t kParallelBytes = 128 * 1024;
  const int32_t vectors = geometry_.positions() / kernel_.lanes;
  const int64_t bytes = int64_t{geometry_.positions()} * channels_;
  const int32_t parts = bytes < kParallelBytes ? 1 : pool_->threads();
  pool_->Run(parts, [&](int32_t part, int32_t) {
    const auto begin_of = [&](int64_t index) {
      return static_cast<int32_t>(index * vectors / parts) * kernel_.lanes;
    };
    const int32_t first = begin_of(part);
    const int32_t last = begin_of(int64_t{part} + 1);
    PackPositions(input, first, last - first,
                  packed_.get() + static_cast<size_t>(first) * kBlock);
  });
  return packed_.get();
}

void PlaneLayer::RunImage(const int8_t* input, int8_t* output) const {
  const int32_t lanes = kernel_.lanes;
  if (panels_) {
    pool_->Run(tiles(), [&](int32_t tile, int32_t thread) {
      uint8_t* panel = packed_.get() + thread * quads_bytes_;
      const int32_t first = tile_begin_[tile] * lanes;
      PackPositions(input, first, tile_begin_[tile + 1] * lanes - first, panel);
      ComputeTile(tile, 0, groups_, panel, output, thread);
    });
    return;
  }

  const uint8_t* const packed = PrepareInput(input);
  const int32_t threads = pool_->threads();
  const int32_t batches = CeilDiv(groups_, kGroupsPerBatch);
  const int32_t wanted = threads == 1 ? 1 : CeilDiv(8 * threads, tiles());
  const int32_t chunk = CeilDiv(batches, std::min(wanted, batches));
  const int32_t chunks = CeilDiv(batches, chunk);
  pool_->Run(tiles() * chunks, [&](int32_t task, int32_t thread) {
    const int32_t tile = task / chunks;
    const int32_t first = task % chunks * chunk * kGroupsPerBatch;
    const int32_t last = std::min(groups_, first + chunk * kGroupsPerBatch);
    const size_t start = static_cast<size_t>(tile_begin_[tile]) * lanes * kBlock;
    ComputeTile(tile, first, last, packed + start, output, thread);
  });
}

size_t PlaneLayer::input_bytes() const {
  return static_cast<size_t>(geometry_.images) * geometry_.in_rows * channels_;
}

size_t PlaneLayer::output_bytes() const {
  return static_cast<size_t>(geometry_.images) * geometry_.out_rows * outputs_;
}

void PlaneLayer::Run(const int8_t* input, const uint8_t* residual, int8_t* output) {
  residual_ = residual;
  Run(input, output);
}

void PlaneLayer::Run(const int8_t* input, int8_t* output) {
  for (int32_t image = 0; image < geometry_.images; ++image) {
    RunImage(input + static_cast<size_t>(image) * geometry_.in_rows * channels_,
             output + static_cast<size_t>(image) * geometry_.out_rows * outputs_);
  }
}

}  // namespace qsparse
