#include "node_kernel.h"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "delegate.h"
#include "node_reader.h"
#include "packed_layer.h"

namespace qsparse {
namespace {

using litert::Context;
using litert::IntArray;
using litert::Node;
using litert::Registration;
using litert::Status;

// What the replaced node was: the stand-in has neither its options nor the
// order of its inputs, and the runtime hides other nodes after initialization.
struct NodeKernel {
  SparseDelegate* delegate = nullptr;
  bool is_conv = false;
  const void* params = nullptr;
  NodeIndices indices;
  std::vector<int32_t> packed_for;  // input shape that `layer` was made for
  std::unique_ptr<PackedLayer> layer;
};

void* Init(Context* context, const char* buffer, size_t) {
  const auto* params = reinterpret_cast<const litert::DelegateParams*>(buffer);
  Node* node = nullptr;
  Registration* registration = nullptr;
  if (params == nullptr || params->nodes_to_replace == nullptr ||
      params->nodes_to_replace->size != 1 ||
      context->get_node_and_registration(context, params->nodes_to_replace->data()[0],
                                         &node, &registration) != litert::kOk) {
    return nullptr;
  }
  auto kernel = std::make_unique<NodeKernel>();
  kernel->delegate = static_cast<SparseDelegate*>(params->delegate->data);
  kernel->is_conv = registration->builtin_code == litert::kBuiltinConv2d;
  kernel->params = node->builtin_data;
  if (!ReadIndices(*node, &kernel->indices).empty()) return nullptr;
  return kernel.release();
}

void Free(Context*, void* buffer) { delete static_cast<NodeKernel*>(buffer); }

// The runtime takes the array over and releases it with free().
Status Resize(Context* context, litert::Tensor* tensor,
              const std::vector<int32_t>& dims) {
  auto* array = static_cast<IntArray*>(
      std::malloc(sizeof(IntArray) + dims.size() * sizeof(int32_t)));
  if (array == nullptr) return litert::kError;
  array->size = static_cast<int32_t>(dims.size());
  std::copy(dims.begin(), dims.end(), array->data());
  return context->resize_tensor(context, tensor, array);
}

Status Fail(Context* context, const std::string& reason) {
  context->report_error(context, "qsparse: %s", reason.c_str());
  return litert::kError;
}

Status Prepare(Context* context, Node* node) {
  auto* kernel = static_cast<NodeKernel*>(node->user_data);
  if (kernel == nullptr) return Fail(context, "kernel was not initialized");
  NodeTensors tensors;
  Layer layer;
  std::vector<int32_t> output_dims;
  std::string reason = FindTensors(*context, kernel->indices, &tensors);
  if (reason.empty()) {
    reason = ReadNode(tensors, kernel->params, kernel->is_conv, &layer, &output_dims);
  }
  if (!reason.empty()) return Fail(context, reason);

  if (!SameDims(*tensors.input->dims, kernel->packed_for)) {
    const Options& options = kernel->delegate->options();
    // Should this fail, a later return to the old shape must pack anew.
    kernel->packed_for.clear();
    const KernelChoice choice = ChooseKernel(
        options.isa, layer, FindPattern(layer), options.dense, options.kernel);
    kernel->layer = Pack(layer, choice, options.dense, kernel->delegate->pool());
    if (kernel->layer == nullptr) return Fail(context, "layer too large");
    const int32_t* dims = tensors.input->dims->data();
    kernel->packed_for.assign(dims, dims + tensors.input->dims->size);
  }
  if (tensors.output->dims == nullptr || !SameDims(*tensors.output->dims, output_dims)) {
    return Resize(context, tensors.output, output_dims);
  }
  return litert::kOk;
}

Status Invoke(Context* context, Node* node) {
  auto* kernel = static_cast<NodeKernel*>(node->user_data);
  const litert::Tensor& input = context->tensors[kernel->indices.input];
  const litert::Tensor& output = context->tensors[kernel->indices.output];
  if (kernel->layer == nullptr || input.data == nullptr || output.data == nullptr ||
      input.bytes != kernel->layer->input_bytes() ||
      output.bytes != kernel->layer->output_bytes()) {
    return Fail(context, "tensor does not hold what was prepared for");
  }
  kernel->layer->Run(static_cast<const int8_t*>(input.data),
                     static_cast<int8_t*>(output.data));
  return litert::kOk;
}

}  // namespace

Registration NodeKernelRegistration() {
  constexpr int32_t kBuiltinDelegate = 51;
  Registration registration = {};
  registration.init = Init;
  registration.free = Free;
  registration.prepare = Prepare;
  registration.invoke = Invoke;
  registration.builtin_code = kBuiltinDelegate;
  registration.custom_name = "QSparseDelegate";
  registration.version = 1;
  return registration;
}

}  // namespace qsparse
