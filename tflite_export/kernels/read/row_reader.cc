#include "read/row_reader.h"

#include <algorithm>

#include "litert/tensor_reader.h"
#include "read/broadcast.h"

namespace qsparse {
namespace {

using litert::IntArray;
using litert::Tensor;

bool FindRowOp(Op op, RowOp* row_op) {
  constexpr struct {
    Op op;
    RowOp row_op;
  } kOps[] = {
      {Op::kDequantize, RowOp::kDequantize},
      {Op::kQuantize, RowOp::kQuantize},
      {Op::kAdd, RowOp::kAdd},
      {Op::kSub, RowOp::kSubtract},
      {Op::kMul, RowOp::kMultiply},
      {Op::kSquaredDifference, RowOp::kSquaredDifference},
      {Op::kNeg, RowOp::kNegate},
      {Op::kRsqrt, RowOp::kReciprocalRoot},
      {Op::kSum, RowOp::kSum},
  };
  for (const auto& known : kOps) {
    if (known.op != op) continue;
    *row_op = known.row_op;
    return true;
  }
  return false;
}

bool HasActivation(const GraphNode& node) {
  const bool may = node.op == Op::kAdd || node.op == Op::kSub || node.op == Op::kMul;
  if (!may) return false;
  // The options of all three begin with it.
  return node.params == nullptr ||
         *static_cast<const int32_t*>(node.params) != litert::kActivationNone;
}

// XNNPACK leaves tensors of more axes to the runtime, which rounds otherwise.
constexpr int32_t kMaxRank = 6;

// Where it has to be written down which row goes with which.
constexpr int64_t kMaxListedRows = int64_t{1} << 24;

// The dimensions, a scalar's as one of 1; false where they are not known.
bool ReadDims(const Tensor& tensor, std::vector<int32_t>* dims) {
  if (tensor.dims == nullptr) return false;
  if (tensor.dims->size == 0) {
    *dims = {1};
    return true;
  }
  if (ElementCount(tensor) < 0) return false;
  dims->assign(tensor.dims->data(), tensor.dims->data() + tensor.dims->size);
  return true;
}

std::string ReadTensor(const litert::Context& context, int32_t index, int32_t type,
                       Shapes* shapes, Tensor* tensor, RowTensor* read,
                       std::vector<int32_t>* dims) {
  if (!shapes->Find(context, index, tensor)) return "tensor index out of range";
  if (tensor->type != type) return "of another type";
  if (!ReadDims(*tensor, dims)) return "unknown or huge shape";
  if (tensor->dims->size > kMaxRank) return "rank not supported";
  read->index = index;
  read->is_int8 = type == litert::kTypeInt8;
  read->columns = dims->back();
  read->rows = 1;
  for (size_t i = 0; i + 1 < dims->size(); ++i) read->rows *= (*dims)[i];
  if (tensor->allocation_type == litert::kMmapRo) {
    if (!IsConstant(*tensor, read->bytes())) return "a constant has no usable data";
    read->constant = tensor->data;
  }
  return "";
}

// Whether rows of an operand do not simply follow each other again and again: an axis is
// repeated behind one that is not.
bool RepeatsInTheMiddle(const std::vector<int32_t>& dims,
                        const std::vector<int32_t>& result) {
  const size_t missing = result.size() - dims.size();
  bool begun = false;
  for (size_t i = 0; i + 1 < dims.size(); ++i) {
    if (begun && dims[i] != result[missing + i]) return true;
    begun |= dims[i] != 1;
  }
  return false;
}

std::string ReadBroadcast(const std::vector<int32_t> (&dims)[2], RowNode* read,
                          std::vector<int32_t>* output_dims) {
  if (!Broadcast(dims[0], dims[1], output_dims)) return "shapes do not match";
  for (int side = 0; side < 2; ++side) {
    if (!RepeatsInTheMiddle(dims[side], *output_dims)) continue;
    std::vector<int32_t> padded(output_dims->size() - dims[side].size(), 1);
    padded.insert(padded.end(), dims[side].begin(), dims[side].end());
    const std::vector<int32_t> axes(output_dims->begin(), output_dims->end() - 1);
    int64_t rows = 1;
    for (const int32_t axis : axes) {
      if (axis > kMaxListedRows / rows) return "too many rows";
      rows *= axis;
    }
    read->inputs[side].row_of = Repeat(padded.data(), axes);
  }
  return "";
}

std::string ReadSum(const litert::Context& context, const GraphNode& node,
                    Shapes* shapes, std::vector<int32_t>* dims) {
  if (node.params == nullptr ||
      !static_cast<const litert::ReducerParams*>(node.params)->keep_dims) {
    return "drops an axis";
  }
  Tensor axes;
  if (!shapes->Find(context, node.weights, &axes) ||
      axes.type != litert::kTypeInt32 || !IsConstant(axes, sizeof(int32_t))) {
    return "axes not supported";
  }
  const auto rank = static_cast<int32_t>(dims->size());
  const int32_t axis = *static_cast<const int32_t*>(axes.data);
  if (axis != -1 && axis != rank - 1) return "not along a row";
  dims->back() = 1;
  return "";
}

std::string ReadQuantization(const Tensor& tensor, RowNode* read) {
  PerTensor quantization;
  if (!ReadPerTensor(tensor, &quantization)) return "not quantized per tensor";
  read->scale = quantization.scale;
  read->zero_point = quantization.zero_point;
  return "";
}

}  // namespace

bool IsRowNode(const litert::Context& context, const GraphNode& node) {
  RowOp op;
  if (!FindRowOp(node.op, &op) || node.output < 0 ||
      static_cast<size_t>(node.output) >= context.tensors_size) {
    return false;
  }
  return op == RowOp::kQuantize ||
         context.tensors[node.output].type == litert::kTypeFloat32;
}

std::string ReadRowNode(const litert::Context& context, const GraphNode& node,
                        Shapes* shapes, RowNode* read,
                        std::vector<int32_t>* output_dims) {
  if (!FindRowOp(node.op, &read->op)) return "no arithmetic on rows";
  if (HasActivation(node)) return "fused activation not supported";
  read->input_count = node.input_count();
  const bool from_int8 = read->op == RowOp::kDequantize;
  const bool to_int8 = read->op == RowOp::kQuantize;
  Tensor tensors[2];
  std::vector<int32_t> dims[2];
  for (int i = 0; i < read->input_count; ++i) {
    const std::string reason = ReadTensor(
        context, node.inputs[i], from_int8 ? litert::kTypeInt8 : litert::kTypeFloat32,
        shapes, &tensors[i], &read->inputs[i], &dims[i]);
    if (!reason.empty()) return reason;
  }
  std::string reason;
  if (read->input_count == 1) {
    if (read->inputs[0].constant != nullptr) return "an input is constant";
    *output_dims = dims[0];
    if (read->op == RowOp::kSum) reason = ReadSum(context, node, shapes, output_dims);
  } else {
    reason = ReadBroadcast(dims, read, output_dims);
  }
  if (!reason.empty()) return reason;

  Tensor output;
  if (!shapes->Find(context, node.output, &output)) return "tensor index out of range";
  if (output.type != (to_int8 ? litert::kTypeInt8 : litert::kTypeFloat32)) {
    return "of another type";
  }
  int64_t count = 1;
  for (const int32_t dim : *output_dims) {
    if (dim > kMaxElements / count) return "unknown or huge shape";
    count *= dim;
  }
  read->output.index = node.output;
  read->output.is_int8 = to_int8;
  read->output.columns = output_dims->back();
  read->output.rows = count / read->output.columns;
  // Of scalars, the runtime makes a scalar.
  if (std::all_of(tensors, tensors + read->input_count,
                  [](const Tensor& tensor) { return tensor.dims->size == 0; })) {
    output_dims->clear();
  }
  if (from_int8) return ReadQuantization(tensors[0], read);
  return to_int8 ? ReadQuantization(output, read) : "";
}

}  // namespace qsparse
