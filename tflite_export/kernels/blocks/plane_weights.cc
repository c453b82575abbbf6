// Packing the weights of a PlaneLayer: the blocks that hold nonzeros, group by group.
#include <algorithm>

#include "base/shared_weights.h"
#include "blocks/plane_layer.h"

namespace qsparse {

std::shared_ptr<const PlaneLayer::Blocks> PlaneLayer::MakeBlocks(
    const Layer& layer, bool all_blocks) const {
  const int32_t quads = (channels_ + kBlock - 1) / kBlock;
  const size_t quad_stride = plane_stride_ * (kernel_.quad_bytes / kBlock);
  const size_t output_stride = static_cast<size_t>(layer.taps()) * channels_;
  auto blocks = std::make_shared<Blocks>();
  blocks->sums.assign(static_cast<size_t>(groups_) * kBlock, 0);
  blocks->list_begin.push_back(0);
  for (int32_t group = 0; group < groups_; ++group) {
    const int32_t first = group * kBlock;
    const int32_t count = std::min(kBlock, outputs_ - first);
    uint32_t* const sums = blocks->sums.data() + first;
    for (int32_t i = 0; i < layer.taps(); ++i) {
      // Column by column, so that the blocks of a column are one list.
      const int32_t column = i / layer.kernel_height;
      const int32_t tap = i % layer.kernel_height * layer.kernel_width + column;
      for (int32_t quad = 0; quad < quads; ++quad) {
        const int32_t depth = std::min(kBlock, channels_ - quad * kBlock);
        int8_t block[kBlockWeights] = {};
        bool any = all_blocks;
        for (int32_t v = 0; v < count; ++v) {
          const int8_t* w = layer.weights + (first + v) * output_stride +
                            static_cast<size_t>(tap) * channels_ + quad * kBlock;
          for (int32_t k = 0; k < depth; ++k) {
            block[v * kBlock + k] = w[k];
            sums[v] += static_cast<uint32_t>(w[k]);
            any |= w[k] != 0;
          }
        }
        if (!any) continue;
        blocks->offsets.push_back(static_cast<int32_t>(
            quad * quad_stride + static_cast<size_t>(geometry_.shift[tap]) * kBlock));
        const size_t end = blocks->weights.size();
        blocks->weights.resize(end + kernel_.block_bytes);
        kernel_.pack_block(block, blocks->weights.data() + end);
      }
      const bool last_of_column = (i + 1) % layer.kernel_height == 0;
      if (i + 1 == layer.taps() || (geometry_.columns > 1 && last_of_column)) {
        const size_t begin = blocks->list_begin.back();
        const size_t end = blocks->offsets.size();
        if (kernel_.pack_list != nullptr) {
          kernel_.pack_list(blocks->weights.data() + begin * kernel_.block_bytes,
                            end - begin);
        }
        blocks->list_begin.push_back(static_cast<uint32_t>(end));
      }
    }
  }
  // Kernels may look at these past the last list.
  constexpr size_t kOffsetsPastEnd = 4;
  blocks->offsets.resize(blocks->offsets.size() + kOffsetsPastEnd, 0);
  blocks->offsets.shrink_to_fit();
  blocks->weights.shrink_to_fit();
  return blocks;
}

void PlaneLayer::PackWeights(const Layer& layer, bool all_blocks) {
  static auto* const shared = new SharedWeights<Blocks>;  // outlives all delegates
  Fingerprinter key;
  key.Add(reinterpret_cast<intptr_t>(&kernel_));
  for (const int64_t number :
       {int64_t{all_blocks}, int64_t{outputs_}, int64_t{channels_},
        int64_t{layer.kernel_height}, int64_t{layer.kernel_width},
        int64_t{geometry_.columns}, static_cast<int64_t>(plane_stride_)}) {
    key.Add(number);
  }
  key.Add(geometry_.shift);
  key.Add(layer.weights, static_cast<size_t>(outputs_) * layer.taps() * channels_);
  blocks_ = shared->Get(key.value(), [&] { return MakeBlocks(layer, all_blocks); });

  const uint32_t input_offset = layer.input_zero_point + kernel_.input_offset;
  padding_ = static_cast<uint8_t>(input_offset);
  pad_row_.assign(channels_ + kCacheLine, static_cast<int8_t>(layer.input_zero_point));
  bias_.assign(blocks_->sums.size(), 0);
  scale_.assign(blocks_->sums.size(), 0.0f);
  for (int32_t n = 0; n < outputs_; ++n) {
    // Wraps like the accumulators do.
    bias_[n] = static_cast<int32_t>(static_cast<uint32_t>(layer.bias[n]) -
                                    blocks_->sums[n] * input_offset);
    scale_[n] = layer.scale[n];
  }
}

}  // namespace qsparse
