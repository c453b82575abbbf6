#include "delegate.h"

#include <algorithm>
#include <cstdio>

#include "abi_check.h"
#include "cpu.h"
#include "node_kernel.h"
#include "node_reader.h"
#include "packed_layer.h"

namespace qsparse {
namespace {

using litert::Context;
using litert::IntArray;
using litert::Node;
using litert::Registration;
using litert::Status;

std::vector<int32_t> DimsOf(const litert::Tensor& tensor) {
  if (tensor.dims == nullptr || tensor.dims->size < 0 || tensor.dims->size > 8) return {};
  return {tensor.dims->data(), tensor.dims->data() + tensor.dims->size};
}

std::string BelowThreshold(double gain, double min_gain) {
  char text[96];
  std::snprintf(text, sizeof(text), "predicted gain %.2f below min_gain %.2f", gain,
                min_gain);
  return text;
}

// Nodes are claimed one by one: tensors between them then stay in the arena.
Status ClaimNode(Context* context, litert::Delegate* delegate, int32_t index) {
  struct {
    IntArray header;
    int32_t element;
  } nodes = {{1}, index};
  return context->replace_node_subsets_with_delegate_kernels(
      context, NodeKernelRegistration(), &nodes.header, delegate);
}

}  // namespace

SparseDelegate::SparseDelegate(const Options& options) : options_(options) {
  abi_.data = this;
  abi_.prepare = &SparseDelegate::Prepare;
  // Outputs are resized by the kernels themselves, so dynamic graphs work.
  abi_.flags = litert::kAllowDynamicTensors;
}

Status SparseDelegate::Prepare(Context* context, litert::Delegate* delegate) {
  return static_cast<SparseDelegate*>(delegate->data)->Claim(context);
}

void SparseDelegate::StartPool(const Context& context) {
  // Kernels of another interpreter may hold the pool that is there.
  if (pool_ != nullptr) return;
  int32_t threads = options_.threads;
  if (threads == 0) threads = std::clamp(context.recommended_num_threads, 1, 256);
  pool_ = std::make_unique<ThreadPool>(threads);
}

Decision SparseDelegate::Decide(const Context& context, const Node& node, int32_t index,
                                bool is_conv) const {
  Decision d;
  d.node = index;
  d.is_conv = is_conv;
  NodeIndices indices;
  NodeTensors tensors;
  d.reason = ReadIndices(node, &indices);
  if (d.reason.empty()) d.reason = FindTensors(context, indices, &tensors);
  if (!d.reason.empty()) return d;
  d.output_tensor = indices.output;
  d.input_dims = DimsOf(*tensors.input);
  d.weight_dims = DimsOf(*tensors.weights);
  d.output_dims = DimsOf(*tensors.output);

  Layer layer;
  std::vector<int32_t> output_dims;
  d.reason = ReadNode(tensors, node.builtin_data, is_conv, &layer, &output_dims);
  if (!d.reason.empty()) return d;
  d.output_dims = output_dims;
  d.macs = layer.macs();
  d.pattern = FindPattern(layer);

  const KernelChoice choice =
      ChooseKernel(options_.isa, layer, d.pattern, options_.dense, options_.kernel);
  d.isa = IsaName(choice.isa());
  d.kernel = choice.name();
  d.gain = choice.cost.gain();
  d.claimed = options_.dense || d.gain >= options_.min_gain;
  d.reason = d.claimed ? "predicted gain" : BelowThreshold(d.gain, options_.min_gain);
  if (options_.dense) d.reason = "option dense";
  if (d.claimed && !FitsMemory(layer, choice, pool_.get())) {
    d.claimed = false;
    d.reason = "layer too large";
  }
  return d;
}

Status SparseDelegate::Claim(Context* context) {
  IntArray* plan = nullptr;
  const std::string mismatch = CheckAbi(context, &plan);
  if (!mismatch.empty()) {
    std::fprintf(stderr,
                 "qsparse: runtime not understood (%s); leaving the model alone\n",
                 mismatch.c_str());
    return litert::kOk;
  }
  StartPool(*context);

  // Claiming a node replaces the plan, so it is read completely first.
  std::vector<Decision> decisions;
  for (int32_t i = 0; i < plan->size; ++i) {
    const int32_t index = plan->data()[i];
    Node* node = nullptr;
    Registration* registration = nullptr;
    if (context->get_node_and_registration(context, index, &node, &registration) !=
            litert::kOk ||
        node == nullptr || registration == nullptr) {
      continue;
    }
    const int32_t op = registration->builtin_code;
    if (op != litert::kBuiltinConv2d && op != litert::kBuiltinFullyConnected) continue;
    decisions.push_back(Decide(*context, *node, index, op == litert::kBuiltinConv2d));
  }

  int32_t claimed = 0;
  for (const Decision& d : decisions) {
    if (!d.claimed) continue;
    const Status status = ClaimNode(context, &abi_, d.node);
    if (status != litert::kOk) return status;
    ++claimed;
  }
  Report(decisions, claimed);
  return litert::kOk;
}

void SparseDelegate::Report(const std::vector<Decision>& decisions, int32_t claimed) {
  // The runtime asks once per subgraph; bodies of loops and branches without
  // layers of ours must not wipe out the plan of the main one.
  if (decisions.empty() && reported_) return;
  reported_ = true;
  if (!options_.plan_path.empty() && !WritePlan(options_.plan_path, decisions)) {
    std::fprintf(stderr, "qsparse: cannot write the plan to %s\n",
                 options_.plan_path.c_str());
  }
  if (options_.log >= 1) {
    std::fprintf(stderr, "qsparse: %d of %zu layers, %s, %d threads\n", claimed,
                 decisions.size(), IsaName(options_.isa), pool_->threads());
  }
  if (options_.log < 2) return;
  for (const Decision& d : decisions) {
    std::fprintf(stderr, "qsparse: node %d %s %s, gain %.2f: %s\n", d.node,
                 d.is_conv ? "CONV_2D" : "FULLY_CONNECTED", d.pattern.name.c_str(),
                 d.gain, d.reason.c_str());
  }
}

}  // namespace qsparse
