#include "subgraph_kernel.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "chain.h"
#include "chain_reader.h"
#include "delegate.h"
#include "kernel_choice.h"
#include "node_reader.h"
#include "packed_layer.h"
#include "pattern.h"
#include "runtime_calls.h"

namespace qsparse {
namespace {

using litert::Context;
using litert::IntArray;
using litert::Node;
using litert::Registration;
using litert::Status;

// What the replaced nodes were: the stand-in has neither their options nor the
// order of their inputs, and the runtime hides other nodes after initialization.
struct SubgraphKernel {
  SparseDelegate* delegate = nullptr;
  std::vector<GraphNode> nodes;
  std::vector<int32_t> inputs;   // activations from outside
  std::vector<int32_t> outputs;  // tensors that are read outside

  // One of the two: a layer by itself may run on any kernel.
  std::unique_ptr<PackedLayer> layer;
  std::unique_ptr<Chain> chain;
  std::vector<std::vector<int32_t>> packed_for;  // shapes of the inputs

  std::vector<const int8_t*> input_rows;
  std::vector<int8_t*> output_rows;

  bool ready() const { return layer != nullptr || chain != nullptr; }
  size_t input_bytes(size_t i) const {
    return layer != nullptr ? layer->input_bytes() : chain->input_bytes(i);
  }
  size_t output_bytes(size_t i) const {
    return layer != nullptr ? layer->output_bytes() : chain->output_bytes(i);
  }
};

bool Contains(const std::vector<int32_t>& list, int32_t value) {
  return std::find(list.begin(), list.end(), value) != list.end();
}

bool ReadNodes(Context* context, const IntArray& indices, SubgraphKernel* kernel) {
  for (int i = 0; i < indices.size; ++i) {
    Node* node = nullptr;
    Registration* registration = nullptr;
    GraphNode read;
    Op op;
    if (context->get_node_and_registration(context, indices.data()[i], &node,
                                           &registration) != litert::kOk ||
        !FindOp(registration->builtin_code, &op) ||
        !ReadGraphNode(indices.data()[i], op, *node, &read).empty()) {
      return false;
    }
    kernel->nodes.push_back(read);
  }
  return !kernel->nodes.empty();
}

void* Init(Context* context, const char* buffer, size_t) {
  const auto* params = reinterpret_cast<const litert::DelegateParams*>(buffer);
  if (params == nullptr || params->nodes_to_replace == nullptr ||
      params->output_tensors == nullptr) {
    return nullptr;
  }
  auto kernel = std::make_unique<SubgraphKernel>();
  kernel->delegate = static_cast<SparseDelegate*>(params->delegate->data);
  if (!ReadNodes(context, *params->nodes_to_replace, kernel.get())) return nullptr;
  std::vector<int32_t> produced;
  for (const GraphNode& node : kernel->nodes) {
    for (int i = 0; i < node.input_count(); ++i) {
      const int32_t input = node.inputs[i];
      if (!Contains(produced, input) && !Contains(kernel->inputs, input)) {
        kernel->inputs.push_back(input);
      }
    }
    produced.push_back(node.output);
  }
  const IntArray& outputs = *params->output_tensors;
  for (int i = 0; i < outputs.size; ++i) {
    if (!Contains(produced, outputs.data()[i])) return nullptr;
    kernel->outputs.push_back(outputs.data()[i]);
  }
  kernel->input_rows.resize(kernel->inputs.size());
  kernel->output_rows.resize(kernel->outputs.size());
  return kernel.release();
}

void Free(Context*, void* buffer) { delete static_cast<SubgraphKernel*>(buffer); }

// Reads every node with the shapes as they are now; `dims` receives those of outputs.
std::string ReadChain(Context* context, const SubgraphKernel& kernel,
                      std::vector<ChainNode>* chain,
                      std::vector<std::vector<int32_t>>* dims) {
  Shapes shapes;
  dims->resize(kernel.outputs.size());
  for (const GraphNode& node : kernel.nodes) {
    ChainNode read;
    std::vector<int32_t> output_dims;
    const std::string reason =
        ReadChainNode(*context, node, &shapes, &read, &output_dims);
    if (!reason.empty()) return reason;
    shapes.Set(node.output, output_dims);
    for (size_t i = 0; i < kernel.outputs.size(); ++i) {
      if (kernel.outputs[i] == node.output) (*dims)[i] = output_dims;
    }
    chain->push_back(std::move(read));
  }
  return "";
}

// A single layer is free to use kernels that know nothing of planes.
void Pack(const Options& options, ThreadPool* pool, std::vector<ChainNode> chain,
          SubgraphKernel* kernel) {
  if (chain.size() == 1 && chain[0].is_layer()) {
    const Layer& layer = chain[0].layer;
    const KernelChoice choice = ChooseKernel(options.cpu, options.isa, layer,
                                             FindPattern(layer), options.dense,
                                             options.kernel);
    kernel->layer = Pack(layer, choice, options.dense, pool);
    return;
  }
  pool->Run(static_cast<int32_t>(chain.size()), [&](int32_t i, int32_t) {
    ChainNode& node = chain[i];
    if (!node.is_layer()) return;
    const Pattern pattern = FindPattern(node.layer);
    node.kernel = ChoosePlaneKernel(options.cpu, options.isa, node.layer, pattern,
                                    options.dense)
                      .planes;
  });
  kernel->chain = Chain::Create(std::move(chain), kernel->inputs, kernel->outputs,
                                options.isa, options.dense, pool);
}

Status Prepare(Context* context, Node* node) {
  auto* kernel = static_cast<SubgraphKernel*>(node->user_data);
  if (kernel == nullptr) return Fail(context, "kernel was not initialized");
  if (kernel->outputs.empty()) return litert::kOk;  // nobody reads what it computes
  std::vector<ChainNode> chain;
  std::vector<std::vector<int32_t>> output_dims;
  const std::string reason = ReadChain(context, *kernel, &chain, &output_dims);
  if (!reason.empty()) return Fail(context, reason);

  std::vector<std::vector<int32_t>> input_dims;
  for (const int32_t input : kernel->inputs) {
    const IntArray& dims = *context->tensors[input].dims;
    input_dims.emplace_back(dims.data(), dims.data() + dims.size);
  }
  if (!kernel->ready() || input_dims != kernel->packed_for) {
    // Should this fail, a later return to the old shape must pack anew.
    kernel->layer = nullptr;
    kernel->chain = nullptr;
    const SparseDelegate& delegate = *kernel->delegate;
    Pack(delegate.options(), delegate.pool(), std::move(chain), kernel);
    if (!kernel->ready()) return Fail(context, "layer too large");
    kernel->packed_for = input_dims;
  }
  for (size_t i = 0; i < kernel->outputs.size(); ++i) {
    const Status status = Resize(context, kernel->outputs[i], output_dims[i]);
    if (status != litert::kOk) return status;
  }
  return litert::kOk;
}

Status Invoke(Context* context, Node* node) {
  auto* kernel = static_cast<SubgraphKernel*>(node->user_data);
  if (kernel != nullptr && kernel->outputs.empty()) return litert::kOk;
  if (kernel == nullptr || !kernel->ready()) return Fail(context, "not prepared");
  for (size_t i = 0; i < kernel->inputs.size(); ++i) {
    const litert::Tensor& tensor = context->tensors[kernel->inputs[i]];
    if (tensor.data == nullptr || tensor.bytes != kernel->input_bytes(i)) {
      return Fail(context, "input does not hold what was prepared for");
    }
    kernel->input_rows[i] = static_cast<const int8_t*>(tensor.data);
  }
  for (size_t i = 0; i < kernel->outputs.size(); ++i) {
    const litert::Tensor& tensor = context->tensors[kernel->outputs[i]];
    if (tensor.data == nullptr || tensor.bytes != kernel->output_bytes(i)) {
      return Fail(context, "output does not hold what was prepared for");
    }
    kernel->output_rows[i] = static_cast<int8_t*>(tensor.data);
  }
  if (kernel->layer != nullptr) {
    kernel->layer->Run(kernel->input_rows[0], kernel->output_rows[0]);
  } else {
    kernel->chain->Run(kernel->input_rows.data(), kernel->output_rows.data());
  }
  return litert::kOk;
}

}  // namespace

Registration SubgraphKernelRegistration() {
  Registration registration = DelegateRegistration();
  registration.init = Init;
  registration.free = Free;
  registration.prepare = Prepare;
  registration.invoke = Invoke;
  return registration;
}

}  // namespace qsparse
