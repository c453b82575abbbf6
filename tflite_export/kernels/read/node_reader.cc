#include "read/node_reader.h"

#include <algorithm>

namespace qsparse {

using litert::IntArray;
using litert::Tensor;

bool FindOp(int32_t builtin_code, Op* op) {
  constexpr struct {
    int32_t code;
    Op op;
  } kOps[] = {
      {litert::kBuiltinConv2d, Op::kConv2d},
      {litert::kBuiltinFullyConnected, Op::kFullyConnected},
      {litert::kBuiltinAdd, Op::kAdd},
      {litert::kBuiltinPad, Op::kPad},
      {litert::kBuiltinMaxPool2d, Op::kMaxPool2d},
      {litert::kBuiltinBatchMatmul, Op::kBatchMatmul},
      {litert::kBuiltinSoftmax, Op::kSoftmax},
      {litert::kBuiltinSelectV2, Op::kSelectV2},
      {litert::kBuiltinGelu, Op::kGelu},
      {litert::kBuiltinDequantize, Op::kDequantize},
      {litert::kBuiltinQuantize, Op::kQuantize},
      {litert::kBuiltinMul, Op::kMul},
      {litert::kBuiltinSub, Op::kSub},
      {litert::kBuiltinSquaredDifference, Op::kSquaredDifference},
      {litert::kBuiltinNeg, Op::kNeg},
      {litert::kBuiltinRsqrt, Op::kRsqrt},
      {litert::kBuiltinSum, Op::kSum},
  };
  for (const auto& known : kOps) {
    if (known.code != builtin_code) continue;
    *op = known.op;
    return true;
  }
  return false;
}

std::string ReadGraphNode(int32_t index, Op op, const litert::Node& node,
                          GraphNode* graph_node) {
  graph_node->index = index;
  graph_node->op = op;
  graph_node->params = node.builtin_data;
  const bool single = op == Op::kMaxPool2d || op == Op::kSoftmax ||
                      op == Op::kDequantize || op == Op::kQuantize || op == Op::kNeg ||
                      op == Op::kRsqrt || op == Op::kGelu;
  const int32_t least = single ? 1 : op == Op::kSelectV2 ? 3 : 2;
  const int32_t most = graph_node->is_layer() ? 3 : least;
  if (node.inputs == nullptr || node.outputs == nullptr || node.outputs->size != 1 ||
      node.inputs->size < least || node.inputs->size > most) {
    return "unexpected number of inputs or outputs";
  }
  const int32_t* inputs = node.inputs->data();
  graph_node->output = node.outputs->data()[0];
  graph_node->inputs[0] = inputs[0];
  if (op == Op::kSelectV2) {
    graph_node->inputs[0] = inputs[1];
    graph_node->inputs[1] = inputs[0];
    graph_node->weights = inputs[2];
  } else if (graph_node->input_count() == 2) {
    graph_node->inputs[1] = inputs[1];
  } else if (!single) {
    graph_node->weights = inputs[1];
    graph_node->bias = node.inputs->size == 3 ? inputs[2] : -1;
  }
  return "";
}

void Shapes::Set(int32_t tensor, const std::vector<int32_t>& dims) {
  std::vector<int32_t>& array = arrays_[tensor];
  array.assign(1, static_cast<int32_t>(dims.size()));
  array.insert(array.end(), dims.begin(), dims.end());
}

bool Shapes::Find(const litert::Context& context, int32_t index, Tensor* tensor) {
  if (index < 0 || static_cast<size_t>(index) >= context.tensors_size) return false;
  *tensor = context.tensors[index];
  const auto known = arrays_.find(index);
  if (known != arrays_.end()) {
    tensor->dims = reinterpret_cast<IntArray*>(known->second.data());
  }
  return true;
}

}  // namespace qsparse
