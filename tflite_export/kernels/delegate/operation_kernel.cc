#include "delegate/operation_kernel.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bytes/choice.h"
#include "bytes/lookup.h"
#include "delegate/shared_state.h"
#include "layers/operation.h"
#include "litert/runtime_calls.h"
#include "matmul/batch_matmul.h"
#include "read/operation_reader.h"
#include "softmax/softmax.h"

namespace qsparse {
namespace {

using litert::Context;
using litert::Node;
using litert::Status;

struct OperationKernel {
  const SharedState* shared = nullptr;
  GraphNode node;
  std::unique_ptr<Operation> operation;
};

// Null when the buffers would be too large.
std::unique_ptr<Operation> MakeOperation(OperationShape shape, const Options& options,
                                         ThreadPool* pool) {
  switch (shape.op) {
    case Op::kBatchMatmul:
      return BatchMatmul::Create(shape.matmul, options.isa, pool);
    case Op::kSelectV2:
      return std::make_unique<Choice>(std::move(shape.choice), pool);
    case Op::kGelu:
      return std::make_unique<Lookup>(shape.lookup,
                                      GetLookup(options.cpu, options.isa), pool);
    default:
      return Softmax::Create(shape.softmax, options.isa, pool);
  }
}

void* Init(Context* context, const char* buffer, size_t) {
  const auto* params = reinterpret_cast<const litert::DelegateParams*>(buffer);
  if (params == nullptr || params->nodes_to_replace == nullptr ||
      params->nodes_to_replace->size != 1) {
    return nullptr;
  }
  const int32_t index = params->nodes_to_replace->data()[0];
  auto kernel = std::make_unique<OperationKernel>();
  kernel->shared = static_cast<const SharedState*>(params->delegate->data);
  Node* node = nullptr;
  litert::Registration* registration = nullptr;
  Op op;
  if (context->get_node_and_registration(context, index, &node, &registration) !=
          litert::kOk ||
      !FindOp(registration->builtin_code, &op) ||
      !ReadGraphNode(index, op, *node, &kernel->node).empty()) {
    return nullptr;
  }
  return kernel.release();
}

void Free(Context*, void* buffer) { delete static_cast<OperationKernel*>(buffer); }

Status Prepare(Context* context, Node* node) {
  auto* kernel = static_cast<OperationKernel*>(node->user_data);
  if (kernel == nullptr) return Fail(context, "kernel was not initialized");
  kernel->operation = nullptr;
  Shapes shapes;
  OperationShape shape;
  std::vector<int32_t> output_dims;
  const std::string reason =
      ReadOperation(*context, kernel->node, &shapes, &shape, &output_dims);
  if (!reason.empty()) return Fail(context, reason);
  const SharedState& shared = *kernel->shared;
  kernel->operation =
      MakeOperation(std::move(shape), shared.options, shared.pool.get());
  if (kernel->operation == nullptr) return Fail(context, "operator too large");
  return Resize(context, kernel->node.output, output_dims);
}

Status Invoke(Context* context, Node* node) {
  auto* kernel = static_cast<OperationKernel*>(node->user_data);
  if (kernel == nullptr || kernel->operation == nullptr) {
    return Fail(context, "not prepared");
  }
  Operation& operation = *kernel->operation;
  const int8_t* inputs[2] = {};
  for (int i = 0; i < kernel->node.input_count(); ++i) {
    const litert::Tensor& tensor = context->tensors[kernel->node.inputs[i]];
    if (tensor.data == nullptr || tensor.bytes != operation.input_bytes(i)) {
      return Fail(context, "input does not hold what was prepared for");
    }
    inputs[i] = static_cast<const int8_t*>(tensor.data);
  }
  const litert::Tensor& output = context->tensors[kernel->node.output];
  if (output.data == nullptr || output.bytes != operation.output_bytes()) {
    return Fail(context, "output does not hold what was prepared for");
  }
  operation.Run(inputs, static_cast<int8_t*>(output.data));
  return litert::kOk;
}

}  // namespace

litert::Registration OperationKernelRegistration() {
  litert::Registration registration = DelegateRegistration();
  registration.init = Init;
  registration.free = Free;
  registration.prepare = Prepare;
  registration.invoke = Invoke;
  return registration;
}

}  // namespace qsparse
