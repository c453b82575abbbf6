#include "read/operation_reader.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "litert/tensor_reader.h"

namespace qsparse {
namespace {

using litert::Tensor;

// Where it was found out what the runtime computes, to the last bit.
#if defined(__x86_64__)
constexpr bool kNumericsAreKnown = true;
#else
constexpr bool kNumericsAreKnown = false;
#endif

std::string ReadActivations(const litert::Context& context, int32_t index,
                            Shapes* shapes, Tensor* tensor, PerTensor* quantization) {
  if (!shapes->Find(context, index, tensor)) return "tensor index out of range";
  if (tensor->type != litert::kTypeInt8 || !ReadPerTensor(*tensor, quantization)) {
    return "not int8, quantized per tensor";
  }
  if (tensor->allocation_type == litert::kMmapRo) return "an input is constant";
  if (ElementCount(*tensor) < 0) return "unknown or huge shape";
  return "";
}

std::string ReadOutput(const litert::Context& context, int32_t index, Shapes* shapes,
                       PerTensor* quantization) {
  Tensor tensor;
  if (!shapes->Find(context, index, &tensor)) return "tensor index out of range";
  if (tensor.type != litert::kTypeInt8 || !ReadPerTensor(tensor, quantization)) {
    return "not int8, quantized per tensor";
  }
  return "";
}

// The runtime multiplies the scales in single precision and divides in double.
std::string ReadFixedPoint(const PerTensor (&inputs)[2], const PerTensor& output,
                           FixedPoint* fixed) {
  const float product = inputs[0].scale * inputs[1].scale;
  if (!IsScale(product)) return "a scale is too small";
  constexpr double kOne = 2147483648.0;
  int exponent = 0;
  const double fraction =
      std::frexp(static_cast<double>(product) / output.scale, &exponent);
  double multiplier = std::round(fraction * kOne);
  if (multiplier == kOne) {
    multiplier /= 2;
    ++exponent;
  }
  // Others are rounded differently, and no product of real matrices needs them.
  if (exponent > -1 || exponent < -30) return "scales too far apart";
  fixed->multiplier = static_cast<int32_t>(multiplier);
  fixed->shift = -exponent;
  fixed->zero_point = output.zero_point;
  return "";
}

// The matrix that goes into each product; axes of length 1 are repeated.
std::vector<int32_t> Repeat(const int32_t* dims, const std::vector<int32_t>& products) {
  std::vector<int32_t> matrices = {0};
  for (size_t axis = 0; axis < products.size(); ++axis) {
    std::vector<int32_t> longer;
    for (const int32_t matrix : matrices) {
      for (int32_t i = 0; i < products[axis]; ++i) {
        longer.push_back(matrix * dims[axis] + (dims[axis] == 1 ? 0 : i));
      }
    }
    matrices = std::move(longer);
  }
  return matrices;
}

std::string ReadMatmul(const litert::Context& context, const GraphNode& node,
                       Shapes* shapes, MatmulShape* shape,
                       std::vector<int32_t>* output_dims) {
  if (node.params == nullptr) return "operator options are missing";
  const auto& params = *static_cast<const litert::BatchMatmulParams*>(node.params);
  Tensor tensors[2];
  PerTensor inputs[2], output;
  for (int i = 0; i < 2; ++i) {
    const std::string reason =
        ReadActivations(context, node.inputs[i], shapes, &tensors[i], &inputs[i]);
    if (!reason.empty()) return reason;
    shape->zero_point[i] = inputs[i].zero_point;
  }
  std::string reason = ReadOutput(context, node.output, shapes, &output);
  if (!reason.empty()) return reason;
  if (inputs[1].zero_point == 0) return "XNNPACK takes it";

  const int32_t rank = tensors[0].dims->size;
  const int32_t* const left = tensors[0].dims->data();
  const int32_t* const right = tensors[1].dims->data();
  if (rank != tensors[1].dims->size || rank < 2 || rank > 5) return "rank not supported";
  int64_t batch = 1;
  output_dims->clear();
  for (int32_t i = 0; i < rank - 2; ++i) {
    if (left[i] != right[i] && left[i] != 1 && right[i] != 1) return "shapes do not match";
    const int32_t dim = std::max(left[i], right[i]);
    if (dim > kMaxElements / batch) return "unknown or huge shape";
    batch *= dim;  // those of the sides no more than ElementCount allows
    shape->matrices[0] *= left[i];
    shape->matrices[1] *= right[i];
    output_dims->push_back(dim);
  }
  shape->batch = static_cast<int32_t>(batch);
  shape->transposed[0] = params.adj_x;
  shape->transposed[1] = params.adj_y;
  shape->rows = left[rank - (params.adj_x ? 1 : 2)];
  shape->depth = left[rank - (params.adj_x ? 2 : 1)];
  shape->columns = right[rank - (params.adj_y ? 2 : 1)];
  if (shape->depth != right[rank - (params.adj_y ? 1 : 2)]) return "shapes do not match";
  // Twice a sum has to stay within int32.
  constexpr int32_t kLargestProduct = 255 * 255;
  if (shape->depth > (1 << 30) / kLargestProduct) return "outputs may overflow";
  const int64_t results = int64_t{shape->rows} * shape->columns;  // below 2^56
  if (results > kMaxElements / shape->batch) return "unknown or huge shape";
  if (shape->matrices[0] != shape->batch || shape->matrices[1] != shape->batch) {
    for (const int side : {0, 1}) {
      shape->repeated[side] = Repeat(side == 0 ? left : right, *output_dims);
    }
  }
  output_dims->push_back(shape->rows);
  output_dims->push_back(shape->columns);
  return ReadFixedPoint(inputs, output, &shape->fixed);
}

std::string ReadSoftmax(const litert::Context& context, const GraphNode& node,
                        Shapes* shapes, SoftmaxShape* shape,
                        std::vector<int32_t>* output_dims) {
  if (node.params == nullptr) return "operator options are missing";
  const float beta = static_cast<const litert::SoftmaxParams*>(node.params)->beta;
  Tensor tensor;
  PerTensor input, output;
  std::string reason =
      ReadActivations(context, node.inputs[0], shapes, &tensor, &input);
  if (reason.empty()) reason = ReadOutput(context, node.output, shapes, &output);
  if (!reason.empty()) return reason;
  if (output.scale != kSoftmaxScale || output.zero_point != kSoftmaxZeroPoint) {
    return "output is not in 256ths";
  }
  if (!IsScale(beta) || !IsScale(input.scale * beta)) return "beta not supported";
  const int32_t* const dims = tensor.dims->data();
  const int32_t rank = tensor.dims->size;
  shape->columns = dims[rank - 1];
  shape->rows = ElementCount(tensor) / shape->columns;
  shape->exponent = -input.scale * beta;
  output_dims->assign(dims, dims + rank);
  return "";
}

}  // namespace

std::string ReadOperation(const litert::Context& context, const GraphNode& node,
                          Shapes* shapes, OperationShape* shape,
                          std::vector<int32_t>* output_dims) {
  if (!kNumericsAreKnown) return "not supported on this CPU";
  shape->op = node.op;
  return node.op == Op::kBatchMatmul
             ? ReadMatmul(context, node, shapes, &shape->matmul, output_dims)
             : ReadSoftmax(context, node, shapes, &shape->softmax, output_dims);
}

}  // namespace qsparse
