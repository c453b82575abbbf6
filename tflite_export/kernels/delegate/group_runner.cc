#include "delegate/group_runner.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "chain/chain.h"
#include "chain/plain_nodes.h"
#include "layers/packed_layer.h"
#include "plan/kernel_choice.h"
#include "plan/pack.h"
#include "plan/pattern.h"

namespace qsparse {
namespace {

class SingleLayer final : public Runnable {
 public:
  explicit SingleLayer(std::unique_ptr<PackedLayer> layer) : layer_(std::move(layer)) {}

  void Run(const int8_t* const* inputs, int8_t* const* outputs) override {
    layer_->Run(inputs[0], outputs[0]);
  }
  size_t input_bytes(size_t) const override { return layer_->input_bytes(); }
  size_t output_bytes(size_t) const override { return layer_->output_bytes(); }

 private:
  const std::unique_ptr<PackedLayer> layer_;
};

// Equal parts of the batch, one after the other.
class InParts final : public Runnable {
 public:
  InParts(std::unique_ptr<Runnable> part, int32_t parts, size_t inputs, size_t outputs)
      : part_(std::move(part)), parts_(parts), inputs_(inputs), outputs_(outputs) {}

  void Run(const int8_t* const* inputs, int8_t* const* outputs) override {
    for (int32_t part = 0; part < parts_; ++part) {
      for (size_t i = 0; i < inputs_.size(); ++i) {
        inputs_[i] = inputs[i] + part * part_->input_bytes(i);
      }
      for (size_t i = 0; i < outputs_.size(); ++i) {
        outputs_[i] = outputs[i] + part * part_->output_bytes(i);
      }
      part_->Run(inputs_.data(), outputs_.data());
    }
  }
  size_t input_bytes(size_t i) const override { return parts_ * part_->input_bytes(i); }
  size_t output_bytes(size_t i) const override { return parts_ * part_->output_bytes(i); }

 private:
  const std::unique_ptr<Runnable> part_;
  const int32_t parts_;
  std::vector<const int8_t*> inputs_;
  std::vector<int8_t*> outputs_;
};

std::unique_ptr<Runnable> MakeLayer(const Layer& layer, const Pattern& pattern,
                                    const Options& options, ThreadPool* pool) {
  const KernelChoice choice =
      ChooseKernel(options.cpu, options.isa, layer, pattern, options.dense,
                   options.kernel);
  std::unique_ptr<PackedLayer> packed = Pack(layer, choice, options.dense, pool);
  if (packed == nullptr) return nullptr;
  return std::make_unique<SingleLayer>(std::move(packed));
}

std::unique_ptr<Runnable> MakeChain(std::vector<ChainNode> nodes,
                                    const std::vector<Pattern>& patterns,
                                    const std::vector<int32_t>& inputs,
                                    const std::vector<int32_t>& outputs,
                                    const Options& options, ThreadPool* pool) {
  for (size_t i = 0; i < nodes.size(); ++i) {
    if (!nodes[i].is_layer()) continue;
    nodes[i].kernel =
        ChoosePlaneKernel(options.cpu, options.isa, nodes[i].layer, patterns[i],
                          options.dense)
            .planes;
  }
  return Chain::Create(std::move(nodes), inputs, outputs, options.isa, options.dense,
                       pool);
}

}  // namespace

std::unique_ptr<Runnable> MakeRunner(const std::vector<ChainNode>& nodes,
                                     const std::vector<int32_t>& inputs,
                                     const std::vector<int32_t>& outputs,
                                     const Options& options, ThreadPool* pool) {
  std::vector<Pattern> patterns(nodes.size());
  pool->Run(static_cast<int32_t>(nodes.size()), [&](int32_t i, int32_t) {
    if (nodes[i].is_layer()) patterns[i] = FindPattern(nodes[i].layer);
  });
  int32_t batch = 0;  // every node's is a multiple of it
  for (const ChainNode& node : nodes) batch = std::gcd(batch, node.layer.batch);
  const bool broadcasts = std::any_of(nodes.begin(), nodes.end(), [](const auto& node) {
    return node.broadcasts();
  });
  for (int32_t parts = 1; !broadcasts && parts <= batch; ++parts) {
    if (batch % parts != 0) continue;
    std::vector<ChainNode> part = nodes;
    for (ChainNode& node : part) node.layer.batch /= parts;
    std::unique_ptr<Runnable> runner =
        part.size() == 1 && part[0].is_layer()
            ? MakeLayer(part[0].layer, patterns[0], options, pool)
            : MakeChain(std::move(part), patterns, inputs, outputs, options, pool);
    if (runner == nullptr) continue;
    if (parts == 1) return runner;
    return std::make_unique<InParts>(std::move(runner), parts, inputs.size(),
                                     outputs.size());
  }
  return PlainNodes::Create(nodes, inputs, outputs, pool);
}

}  // namespace qsparse
