#include "read/node_reader.h"

#include <algorithm>

namespace qsparse {

using litert::IntArray;
using litert::Tensor;

bool FindOp(int32_t builtin_code, Op* op) {
  switch (builtin_code) {
    case litert::kBuiltinConv2d:
      *op = Op::kConv2d;
      return true;
    case litert::kBuiltinFullyConnected:
      *op = Op::kFullyConnected;
      return true;
    case litert::kBuiltinAdd:
      *op = Op::kAdd;
      return true;
    case litert::kBuiltinPad:
      *op = Op::kPad;
      return true;
    case litert::kBuiltinMaxPool2d:
      *op = Op::kMaxPool2d;
      return true;
    case litert::kBuiltinBatchMatmul:
      *op = Op::kBatchMatmul;
      return true;
    case litert::kBuiltinSoftmax:
      *op = Op::kSoftmax;
      return true;
    default:
      return false;
  }
}

std::string ReadGraphNode(int32_t index, Op op, const litert::Node& node,
                          GraphNode* graph_node) {
  graph_node->index = index;
  graph_node->op = op;
  graph_node->params = node.builtin_data;
  const bool single = op == Op::kMaxPool2d || op == Op::kSoftmax;
  const int32_t least = single ? 1 : 2;
  const int32_t most = graph_node->is_layer() ? 3 : least;
  if (node.inputs == nullptr || node.outputs == nullptr || node.outputs->size != 1 ||
      node.inputs->size < least || node.inputs->size > most) {
    return "unexpected number of inputs or outputs";
  }
  const int32_t* inputs = node.inputs->data();
  graph_node->output = node.outputs->data()[0];
  graph_node->inputs[0] = inputs[0];
  if (graph_node->input_count() == 2) {
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
