#include "node_reader.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace qsparse {
namespace {

using litert::AffineQuantization;
using litert::ConvParams;
using litert::FullyConnectedParams;
using litert::IntArray;
using litert::Tensor;

// Far above any real layer, far below overflow of the products taken later.
constexpr int64_t kMaxElements = int64_t{1} << 28;
constexpr int32_t kMaxKernel = 15;
constexpr int32_t kMaxStride = 8;

// Negative when the shape is absent, not positive or too large.
int64_t ElementCount(const Tensor& tensor) {
  if (tensor.dims == nullptr || tensor.dims->size < 1 || tensor.dims->size > 8) {
    return -1;
  }
  int64_t count = 1;
  for (int i = 0; i < tensor.dims->size; ++i) {
    const int32_t dim = tensor.dims->data()[i];
    if (dim < 1 || dim > kMaxElements) return -1;
    count *= dim;
    if (count > kMaxElements) return -1;
  }
  return count;
}

bool IsConstant(const Tensor& tensor, int64_t bytes) {
  return tensor.allocation_type == litert::kMmapRo && tensor.data != nullptr &&
         tensor.bytes == static_cast<size_t>(bytes) && tensor.sparsity == nullptr;
}

const AffineQuantization* Affine(const Tensor& tensor) {
  if (tensor.quantization.type != litert::kAffineQuantization) return nullptr;
  const auto* affine =
      static_cast<const AffineQuantization*>(tensor.quantization.params);
  if (affine == nullptr || affine->scale == nullptr ||
      affine->zero_point == nullptr || affine->scale->size < 1 ||
      affine->zero_point->size < 1) {
    return nullptr;
  }
  return affine;
}

bool IsScale(float scale) { return std::isnormal(scale) && scale > 0.0f; }

struct PerTensor {
  float scale = 0.0f;
  int32_t zero_point = 0;
};

bool ReadPerTensor(const Tensor& tensor, PerTensor* out) {
  const AffineQuantization* affine = Affine(tensor);
  if (affine == nullptr || affine->scale->size != 1 ||
      affine->zero_point->size != 1) {
    return false;
  }
  out->scale = affine->scale->data()[0];
  out->zero_point = affine->zero_point->data()[0];
  return IsScale(out->scale) && out->zero_point >= -128 && out->zero_point <= 127;
}

// The order of operations, all in single precision, is XNNPACK's.
std::string ReadScales(const NodeTensors& t, Layer* layer) {
  PerTensor input, output;
  if (!ReadPerTensor(*t.input, &input) || !ReadPerTensor(*t.output, &output)) {
    return "input or output is not quantized per tensor";
  }
  layer->input_zero_point = input.zero_point;
  layer->output_zero_point = output.zero_point;

  const AffineQuantization* affine = Affine(*t.weights);
  if (affine == nullptr) return "weights are not quantized";
  const int32_t count = affine->scale->size;
  if (count != 1 && count != layer->outputs) return "wrong number of weight scales";
  if (count != 1 && affine->quantized_dimension != 0) {
    return "weights are not quantized per output channel";
  }
  const int32_t* zero_points = affine->zero_point->data();
  if (!std::all_of(zero_points, zero_points + affine->zero_point->size,
                   [](int32_t z) { return z == 0; })) {
    return "weights are not symmetric";
  }
  layer->scale.resize(layer->outputs);
  for (int n = 0; n < layer->outputs; ++n) {
    const float weight_scale = affine->scale->data()[count == 1 ? 0 : n];
    if (!IsScale(weight_scale)) return "a weight scale is not a positive number";
    layer->scale[n] = input.scale * weight_scale / output.scale;
    if (!(layer->scale[n] < 256.0f)) return "output scale too small for the product";
  }
  return "";
}

std::string ReadBias(const NodeTensors& t, Layer* layer) {
  layer->bias.assign(layer->outputs, 0);
  if (t.bias == nullptr) return "";
  const int64_t bytes = static_cast<int64_t>(layer->outputs) * sizeof(int32_t);
  if (t.bias->type != litert::kTypeInt32 || ElementCount(*t.bias) != layer->outputs) {
    return "bias is not one int32 per output";
  }
  if (!IsConstant(*t.bias, bytes)) return "bias is not constant";
  std::memcpy(layer->bias.data(), t.bias->data, bytes);
  return "";
}

// Kernels convert acc * scale to int32 without looking. Real layers are far from
// its limits; a file that is not is left to the runtime.
bool StaysInRange(const Layer& layer) {
  constexpr double kLargestProduct = 255.0 * 128.0;
  constexpr double kLimit = 2147483648.0;
  const double products = kLargestProduct * layer.taps() * layer.channels;
  for (int n = 0; n < layer.outputs; ++n) {
    const double sum = products + std::abs(static_cast<double>(layer.bias[n]));
    if (std::min(sum, kLimit) * layer.scale[n] >= 0.99 * kLimit) return false;
  }
  return true;
}

int32_t Quantize(float value, float scale, int32_t zero_point) {
  const float q = value / scale + static_cast<float>(zero_point);
  return static_cast<int32_t>(std::lrint(std::min(std::max(q, -128.0f), 127.0f)));
}

std::string ReadActivation(const Tensor& output, int32_t activation, Layer* layer) {
  PerTensor q;
  if (!ReadPerTensor(output, &q)) return "output is not quantized per tensor";
  const auto at = [&q](float value) { return Quantize(value, q.scale, q.zero_point); };
  switch (activation) {
    case litert::kActivationNone:
      break;
    case litert::kActivationRelu:
      layer->output_min = at(0.0f);
      break;
    case litert::kActivationReluN1To1:
      layer->output_min = at(-1.0f);
      layer->output_max = at(1.0f);
      break;
    case litert::kActivationRelu6:
      layer->output_min = at(0.0f);
      layer->output_max = at(6.0f);
      break;
    default:
      return "fused activation not supported";
  }
  if (layer->output_min >= layer->output_max) return "empty activation range";
  return "";
}

std::string ReadFullyConnected(const NodeTensors& t, const FullyConnectedParams& params,
                               Layer* layer, std::vector<int32_t>* output_dims) {
  if (t.weights->dims->size != 2) return "weights are not two-dimensional";
  if (params.weights_format != 0) return "shuffled weights";
  layer->outputs = t.weights->dims->data()[0];
  layer->channels = t.weights->dims->data()[1];
  const int64_t input = ElementCount(*t.input);
  if (input % layer->channels != 0) return "input does not fit the weights";
  layer->batch = static_cast<int32_t>(input / layer->channels);
  if (params.keep_num_dims) {
    const IntArray& dims = *t.input->dims;
    if (dims.data()[dims.size - 1] != layer->channels) {
      return "input does not fit the weights";
    }
    output_dims->assign(dims.data(), dims.data() + dims.size);
    output_dims->back() = layer->outputs;
  } else {
    *output_dims = {layer->batch, layer->outputs};
  }
  return ReadActivation(*t.output, params.activation, layer);
}

// Output length and padding along one axis, as TensorFlow defines them.
bool PadAxis(int32_t padding, int32_t in, int32_t kernel, int32_t stride, int32_t* out,
             int32_t* before, int32_t* after) {
  *before = *after = 0;
  if (padding == litert::kPaddingValid) {
    *out = in < kernel ? 0 : (in - kernel) / stride + 1;
    return *out > 0;
  }
  *out = (in + stride - 1) / stride;
  const int32_t total = std::max((*out - 1) * stride + kernel - in, 0);
  *before = total / 2;
  *after = total - *before;
  return true;
}

std::string ReadConv(const NodeTensors& t, const ConvParams& params, Layer* layer,
                     std::vector<int32_t>* output_dims) {
  if (t.weights->dims->size != 4 || t.input->dims->size != 4) {
    return "input or weights are not four-dimensional";
  }
  const int32_t* w = t.weights->dims->data();
  const int32_t* x = t.input->dims->data();
  if (x[3] != w[3]) return "grouped convolution";
  if (w[1] > kMaxKernel || w[2] > kMaxKernel) return "kernel too large";
  if (params.dilation_width_factor != 1 || params.dilation_height_factor != 1) {
    return "dilated convolution";
  }
  if (params.stride_width < 1 || params.stride_width > kMaxStride ||
      params.stride_height < 1 || params.stride_height > kMaxStride) {
    return "stride not supported";
  }
  if (params.padding != litert::kPaddingSame && params.padding != litert::kPaddingValid) {
    return "padding not supported";
  }
  layer->is_conv = true;
  layer->outputs = w[0];
  layer->kernel_height = w[1];
  layer->kernel_width = w[2];
  layer->channels = w[3];
  layer->batch = x[0];
  layer->height = x[1];
  layer->width = x[2];
  layer->stride_height = params.stride_height;
  layer->stride_width = params.stride_width;
  if (!PadAxis(params.padding, x[1], w[1], params.stride_height, &layer->out_height,
               &layer->pad_top, &layer->pad_bottom) ||
      !PadAxis(params.padding, x[2], w[2], params.stride_width, &layer->out_width,
               &layer->pad_left, &layer->pad_right)) {
    return "kernel larger than the image";
  }
  *output_dims = {layer->batch, layer->out_height, layer->out_width, layer->outputs};
  return ReadActivation(*t.output, params.activation, layer);
}

}  // namespace

std::string ReadIndices(const litert::Node& node, NodeIndices* indices) {
  if (node.inputs == nullptr || node.outputs == nullptr || node.outputs->size != 1 ||
      node.inputs->size < 2 || node.inputs->size > 3) {
    return "unexpected number of inputs or outputs";
  }
  indices->input = node.inputs->data()[0];
  indices->weights = node.inputs->data()[1];
  indices->bias = node.inputs->size == 3 ? node.inputs->data()[2] : -1;
  indices->output = node.outputs->data()[0];
  return "";
}

std::string FindTensors(const litert::Context& context, const NodeIndices& indices,
                        NodeTensors* tensors) {
  const auto at = [&context](int32_t index) -> Tensor* {
    if (index < 0 || static_cast<size_t>(index) >= context.tensors_size) return nullptr;
    return &context.tensors[index];
  };
  tensors->input = at(indices.input);
  tensors->weights = at(indices.weights);
  tensors->bias = at(indices.bias);
  tensors->output = at(indices.output);
  if (tensors->input == nullptr || tensors->weights == nullptr ||
      tensors->output == nullptr || (indices.bias >= 0 && tensors->bias == nullptr)) {
    return "tensor index out of range";
  }
  return "";
}

std::string ReadNode(const NodeTensors& tensors, const void* params, bool is_conv,
                     Layer* layer, std::vector<int32_t>* output_dims) {
  if (params == nullptr) return "operator options are missing";
  if (tensors.input->type != litert::kTypeInt8 ||
      tensors.weights->type != litert::kTypeInt8 ||
      tensors.output->type != litert::kTypeInt8) {
    return "not int8";
  }
  const int64_t weights = ElementCount(*tensors.weights);
  if (weights < 0 || ElementCount(*tensors.input) < 0) return "unknown or huge shape";
  if (!IsConstant(*tensors.weights, weights)) return "weights are not constant";
  layer->weights = static_cast<const int8_t*>(tensors.weights->data);

  std::string reason =
      is_conv ? ReadConv(tensors, *static_cast<const litert::ConvParams*>(params),
                         layer, output_dims)
              : ReadFullyConnected(
                    tensors, *static_cast<const litert::FullyConnectedParams*>(params),
                    layer, output_dims);
  if (!reason.empty()) return reason;
  if (layer->rows() * layer->outputs > kMaxElements) return "unknown or huge shape";
  reason = ReadScales(tensors, layer);
  if (reason.empty()) reason = ReadBias(tensors, layer);
  if (!reason.empty()) return reason;
  return StaysInRange(*layer) ? "" : "outputs may overflow";
}

bool SameDims(const IntArray& dims, const std::vector<int32_t>& expected) {
  return dims.size == static_cast<int32_t>(expected.size()) &&
         std::equal(expected.begin(), expected.end(), dims.data());
}

}  // namespace qsparse
