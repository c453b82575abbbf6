#include "delegate/subgraph_kernel.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "delegate/group_runner.h"
#include "delegate/shared_state.h"
#include "litert/runtime_calls.h"
#include "read/chain_reader.h"
#include "read/node_reader.h"
#include "read/row_reader.h"
#include "regions/region.h"

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
  const SharedState* shared = nullptr;
  std::vector<GraphNode> nodes;
  bool is_region = false;        // of float arithmetic; else a chain
  std::vector<int32_t> inputs;   // activations from outside; of a region, constants too
  std::vector<int32_t> outputs;  // tensors that are read outside

  std::unique_ptr<Runnable> runner;
  std::vector<std::vector<int32_t>> made_for;  // shapes of the inputs

  std::vector<const int8_t*> input_rows;
  std::vector<int8_t*> output_rows;
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
    kernel->is_region = IsRowNode(*context, read);
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
  kernel->shared = static_cast<const SharedState*>(params->delegate->data);
  if (!ReadNodes(context, *params->nodes_to_replace, kernel.get())) return nullptr;
  const IntArray& outputs = *params->output_tensors;
  kernel->outputs.assign(outputs.data(), outputs.data() + outputs.size);
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
  for (const int32_t output : kernel->outputs) {
    if (!Contains(produced, output)) return nullptr;
  }
  kernel->input_rows.resize(kernel->inputs.size());
  kernel->output_rows.resize(kernel->outputs.size());
  return kernel.release();
}

void Free(Context*, void* buffer) { delete static_cast<SubgraphKernel*>(buffer); }

// Reads every node with the shapes as they are now; `dims` receives those of outputs.
template <typename Read, typename ReadNode>
std::string ReadAll(Context* context, const SubgraphKernel& kernel,
                    const ReadNode& read_node, std::vector<Read>* all,
                    std::vector<std::vector<int32_t>>* dims) {
  Shapes shapes;
  dims->resize(kernel.outputs.size());
  for (const GraphNode& node : kernel.nodes) {
    Read read;
    std::vector<int32_t> output_dims;
    const std::string reason = read_node(*context, node, &shapes, &read, &output_dims);
    if (!reason.empty()) return reason;
    shapes.Set(node.output, output_dims);
    for (size_t i = 0; i < kernel.outputs.size(); ++i) {
      if (kernel.outputs[i] == node.output) (*dims)[i] = output_dims;
    }
    all->push_back(std::move(read));
  }
  return "";
}

Status Prepare(Context* context, Node* node) {
  auto* kernel = static_cast<SubgraphKernel*>(node->user_data);
  if (kernel == nullptr) return Fail(context, "kernel was not initialized");
  std::vector<ChainNode> chain;
  std::vector<RowNode> rows;
  std::vector<std::vector<int32_t>> output_dims;
  const std::string reason =
      kernel->is_region ? ReadAll(context, *kernel, ReadRowNode, &rows, &output_dims)
                        : ReadAll(context, *kernel, ReadChainNode, &chain, &output_dims);
  if (!reason.empty()) return Fail(context, reason);

  std::vector<std::vector<int32_t>> input_dims;
  for (const int32_t input : kernel->inputs) {
    const IntArray& dims = *context->tensors[input].dims;
    input_dims.emplace_back(dims.data(), dims.data() + dims.size);
  }
  if (kernel->runner == nullptr || input_dims != kernel->made_for) {
    // Should this fail, a later return to the old shape must pack anew.
    kernel->runner = nullptr;
    const SharedState& shared = *kernel->shared;
    kernel->runner =
        kernel->is_region
            ? Region::Create(rows, kernel->inputs, kernel->outputs,
                             GetRowFunction(shared.options.cpu.xnnpack),
                             shared.pool.get())
            : MakeRunner(chain, kernel->inputs, kernel->outputs, shared.options,
                         shared.pool.get());
    if (kernel->runner == nullptr) return Fail(context, "layer too large");
    kernel->made_for = input_dims;
  }
  for (size_t i = 0; i < kernel->outputs.size(); ++i) {
    const Status status = Resize(context, kernel->outputs[i], output_dims[i]);
    if (status != litert::kOk) return status;
  }
  return litert::kOk;
}

Status Invoke(Context* context, Node* node) {
  auto* kernel = static_cast<SubgraphKernel*>(node->user_data);
  if (kernel == nullptr || kernel->runner == nullptr) return Fail(context, "not prepared");
  for (size_t i = 0; i < kernel->inputs.size(); ++i) {
    const litert::Tensor& tensor = context->tensors[kernel->inputs[i]];
    if (tensor.data == nullptr || tensor.bytes != kernel->runner->input_bytes(i)) {
      return Fail(context, "input does not hold what was prepared for");
    }
    kernel->input_rows[i] = static_cast<const int8_t*>(tensor.data);
  }
  for (size_t i = 0; i < kernel->outputs.size(); ++i) {
    const litert::Tensor& tensor = context->tensors[kernel->outputs[i]];
    if (tensor.data == nullptr || tensor.bytes != kernel->runner->output_bytes(i)) {
      return Fail(context, "output does not hold what was prepared for");
    }
    kernel->output_rows[i] = static_cast<int8_t*>(tensor.data);
  }
  kernel->runner->Run(kernel->input_rows.data(), kernel->output_rows.data());
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
