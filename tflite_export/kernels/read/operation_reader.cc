#include "read/operation_reader.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "litert/tensor_reader.h"
#include "read/broadcast.h"

namespace qsparse {
namespace {

using litert::Tensor;

// Where it was found out what the runtime computes, to the last bit.
#if defined(__x86_64__)
constexpr bool kNumericsAreKnown = true;
#else
constexpr bool kNumericsAreKnown = false;
#endif

// The error function of the other side, so that nothing cancels out.
float Gelu(float x) {
  constexpr double kRootOfHalf = 0.70710678118654752440;
  return 0.5f * x * std::erfc(x * static_cast<float>(-kRootOfHalf));
}

float ApproximateGelu(float x) {
  constexpr float kRootOf2OverPi = 0.79788456080286535588;
  return 0.5f * x *
         (1.0f + std::tanh(kRootOf2OverPi * (x + 0.044715f * x * x * x)));
}

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

// Of an operator with one input and an output of its shape.
std::string ReadEnds(const litert::Context& context, const GraphNode& node,
                     Shapes* shapes, PerTensor* input, PerTensor* output,
                     std::vector<int32_t>* dims, int64_t* count) {
  Tensor tensor;
  std::string reason = ReadActivations(context, node.inputs[0], shapes, &tensor, input);
  if (reason.empty()) reason = ReadOutput(context, node.output, shapes, output);
  if (!reason.empty()) return reason;
  dims->assign(tensor.dims->data(), tensor.dims->data() + tensor.dims->size);
  *count = ElementCount(tensor);
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
  if (inputs[1].zero_point != 0) return ReadFixedPoint(inputs, output, &shape->fixed);
  // XNNPACK takes it.
  shape->factor = inputs[0].scale * inputs[1].scale / output.scale;
  shape->fixed.zero_point = output.zero_point;
  return IsScale(shape->factor) ? "" : "scales too far apart";
}

std::string ReadSoftmax(const litert::Context& context, const GraphNode& node,
                        Shapes* shapes, SoftmaxShape* shape,
                        std::vector<int32_t>* output_dims) {
  if (node.params == nullptr) return "operator options are missing";
  const float beta = static_cast<const litert::SoftmaxParams*>(node.params)->beta;
  PerTensor input, output;
  int64_t count = 0;
  const std::string reason =
      ReadEnds(context, node, shapes, &input, &output, output_dims, &count);
  if (!reason.empty()) return reason;
  if (output.scale != kSoftmaxScale || output.zero_point != kSoftmaxZeroPoint) {
    return "output is not in 256ths";
  }
  if (!IsScale(beta) || !IsScale(input.scale * beta)) return "beta not supported";
  shape->columns = output_dims->back();
  shape->rows = count / shape->columns;
  shape->exponent = -input.scale * beta;
  return "";
}

// Of each one it is written down which row of the mask goes with it.
constexpr int64_t kMaxRows = int64_t{1} << 24;

// The runtime copies bytes, whatever they stand for.
std::string ReadChoice(const litert::Context& context, const GraphNode& node,
                       Shapes* shapes, ChoiceShape* shape,
                       std::vector<int32_t>* output_dims) {
  Tensor values, mask, otherwise, output;
  PerTensor ignored;
  const std::string reason =
      ReadActivations(context, node.inputs[0], shapes, &values, &ignored);
  if (!reason.empty()) return reason;
  if (!shapes->Find(context, node.inputs[1], &mask) ||
      !shapes->Find(context, node.weights, &otherwise) ||
      !shapes->Find(context, node.output, &output)) {
    return "tensor index out of range";
  }
  if (mask.type != litert::kTypeBool || mask.allocation_type == litert::kMmapRo ||
      otherwise.type != litert::kTypeInt8 || output.type != litert::kTypeInt8 ||
      !IsConstant(otherwise, 1) || otherwise.dims == nullptr ||
      otherwise.dims->size > values.dims->size) {
    return "no choice between a tensor and a constant";
  }
  const int64_t mask_count = ElementCount(mask);
  const int32_t rank = values.dims->size;
  const int32_t missing = rank - (mask_count < 0 ? rank + 1 : mask.dims->size);
  if (mask_count < 0 || missing < 0) return "mask of a larger shape";
  int64_t count = 1;
  output_dims->clear();
  std::vector<int32_t> of_mask;
  for (int32_t axis = 0; axis < rank; ++axis) {
    const int32_t dim = values.dims->data()[axis];
    of_mask.push_back(axis < missing ? 1 : mask.dims->data()[axis - missing]);
    const int32_t longer = std::max(dim, of_mask.back());
    if (of_mask.back() != 1 && of_mask.back() != dim && dim != 1) {
      return "shapes do not match";
    }
    if (longer > kMaxElements / count) return "unknown or huge shape";
    count *= longer;
    output_dims->push_back(longer);
  }
  shape->columns = output_dims->back();
  if (values.dims->data()[rank - 1] != shape->columns) return "mask of a larger shape";
  if (count / shape->columns > kMaxRows) return "too many rows";
  shape->mask_columns = of_mask.back();
  const std::vector<int32_t> axes(output_dims->begin(), output_dims->end() - 1);
  shape->mask_rows = Repeat(of_mask.data(), axes);
  shape->mask_bytes = mask_count;
  shape->value_bytes = ElementCount(values);
  if (shape->value_bytes != count) {
    shape->value_rows = Repeat(values.dims->data(), axes);
  }
  shape->otherwise = *static_cast<const int8_t*>(otherwise.data);
  return "";
}

// As the runtime fills its own table.
std::string ReadGelu(const litert::Context& context, const GraphNode& node,
                     Shapes* shapes, LookupShape* shape,
                     std::vector<int32_t>* output_dims) {
  if (node.params == nullptr) return "operator options are missing";
  PerTensor input, output;
  int64_t count = 0;
  const std::string reason =
      ReadEnds(context, node, shapes, &input, &output, output_dims, &count);
  if (!reason.empty()) return reason;
  const bool approximate =
      static_cast<const litert::GeluParams*>(node.params)->approximate;
  const float inverse = 1.0f / output.scale;
  for (int32_t i = -128; i < 128; ++i) {
    const float x = input.scale * static_cast<float>(i - input.zero_point);
    const float y = approximate ? ApproximateGelu(x) : Gelu(x);
    const float steps =
        std::round(y * inverse) + static_cast<float>(output.zero_point);
    // What is no number, as an infinity times 0, is 0 to the runtime.
    shape->table[i + 128] = std::isnan(steps)
                                ? int8_t{0}
                                : static_cast<int8_t>(std::clamp(steps, -128.0f, 127.0f));
  }
  shape->values = count;
  return "";
}

}  // namespace

std::string ReadOperation(const litert::Context& context, const GraphNode& node,
                          Shapes* shapes, OperationShape* shape,
                          std::vector<int32_t>* output_dims) {
  if (!kNumericsAreKnown) return "not supported on this CPU";
  shape->op = node.op;
  switch (node.op) {
    case Op::kBatchMatmul:
      return ReadMatmul(context, node, shapes, &shape->matmul, output_dims);
    case Op::kSelectV2:
      return ReadChoice(context, node, shapes, &shape->choice, output_dims);
    case Op::kGelu:
      return ReadGelu(context, node, shapes, &shape->lookup, output_dims);
    default:
      return ReadSoftmax(context, node, shapes, &shape->softmax, output_dims);
  }
}

}  // namespace qsparse
