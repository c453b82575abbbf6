#include "litert/abi_check.h"

namespace qsparse {
namespace {

using litert::Context;
using litert::IntArray;
using litert::Tensor;

constexpr size_t kMaxTensors = size_t{1} << 24;
constexpr int32_t kMaxThreads = 1 << 16;

size_t ElementSize(int32_t type) {
  if (type == litert::kTypeInt8) return 1;
  if (type == litert::kTypeInt32 || type == litert::kTypeFloat32) return 4;
  return 0;
}

// Constant tensors of known types must be exactly as long as their shape says.
bool IsPlausible(const Tensor& tensor) {
  const size_t size = ElementSize(tensor.type);
  if (size == 0 || tensor.allocation_type != litert::kMmapRo ||
      tensor.sparsity != nullptr || tensor.dims == nullptr) {
    return true;
  }
  if (tensor.dims->size < 0 || tensor.dims->size > 64) return false;
  size_t bytes = size;
  for (int i = 0; i < tensor.dims->size; ++i) {
    const int32_t dim = tensor.dims->data()[i];
    if (dim < 0 || __builtin_mul_overflow(bytes, static_cast<size_t>(dim), &bytes)) {
      return false;
    }
  }
  return bytes == tensor.bytes;
}

bool InRange(const IntArray* indices, size_t count) {
  if (indices == nullptr || indices->size < 0) return false;
  for (int i = 0; i < indices->size; ++i) {
    const int32_t index = indices->data()[i];
    if (index < -1 || (index >= 0 && static_cast<size_t>(index) >= count)) return false;
  }
  return true;
}

}  // namespace

std::string CheckAbi(Context* context, IntArray** plan) {
  if (context == nullptr || context->tensors == nullptr ||
      context->tensors_size > kMaxTensors || context->get_execution_plan == nullptr ||
      context->get_node_and_registration == nullptr ||
      context->replace_node_subsets_with_delegate_kernels == nullptr ||
      context->preview_delegate_partitioning == nullptr ||
      context->resize_tensor == nullptr || context->report_error == nullptr) {
    return "context";
  }
  if (context->recommended_num_threads < -1 ||
      context->recommended_num_threads > kMaxThreads) {
    return "thread count";
  }
  if (context->get_execution_plan(context, plan) != litert::kOk || *plan == nullptr ||
      (*plan)->size < 0 || static_cast<size_t>((*plan)->size) > kMaxTensors) {
    return "execution plan";
  }
  for (int i = 0; i < (*plan)->size; ++i) {
    litert::Node* node = nullptr;
    litert::Registration* registration = nullptr;
    if (context->get_node_and_registration(context, (*plan)->data()[i], &node,
                                           &registration) != litert::kOk ||
        node == nullptr || registration == nullptr) {
      return "node";
    }
    if (!InRange(node->inputs, context->tensors_size) ||
        !InRange(node->outputs, context->tensors_size)) {
      return "tensor index";
    }
  }
  for (size_t i = 0; i < context->tensors_size; ++i) {
    if (!IsPlausible(context->tensors[i])) return "tensor size";
  }
  return "";
}

}  // namespace qsparse
