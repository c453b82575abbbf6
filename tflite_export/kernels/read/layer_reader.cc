// Fully connected layers and convolutions of node_reader.h.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "litert/tensor_reader.h"
#include "read/node_reader.h"
#include "read/window_axis.h"

namespace qsparse {
namespace {

using litert::AffineQuantization;
using litert::ConvParams;
using litert::FullyConnectedParams;
using litert::IntArray;
using litert::Tensor;

struct NodeTensors {
  const Tensor* input;
  const Tensor* weights;
  const Tensor* bias;  // null when absent
  const Tensor* output;
};

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
  if (t.bias == nullptr) {
    // LiteRT refuses such a convolution, with or without XNNPACK.
    return layer->is_conv ? "convolution without a bias" : "";
  }
  const int64_t bytes = static_cast<int64_t>(layer->outputs) * sizeof(int32_t);
  if (t.bias->type != litert::kTypeInt32 || ElementCount(*t.bias) != layer->outputs ||
      t.bias->dims->size != 1) {
    return "bias is not one int32 per output";
  }
  if (!IsConstant(*t.bias, bytes)) return "bias is not constant";
  // XNNPACK refuses a bias of any other quantization, and LiteRT then rounds otherwise.
  const AffineQuantization* const affine = Affine(*t.bias);
  if (affine == nullptr) return "bias is not quantized";
  const float* const scales = affine->scale->data();
  if (!std::all_of(scales, scales + affine->scale->size, IsScale)) {
    return "a bias scale is not a positive number";
  }
  const int32_t* const zeros = affine->zero_point->data();
  if (std::any_of(zeros, zeros + affine->zero_point->size,
                  [](int32_t z) { return z != 0; })) {
    return "bias is not symmetric";
  }
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
  return ReadActivation(*t.output, params.activation, &layer->output_min,
                        &layer->output_max);
}

std::string ReadConv(const NodeTensors& t, const ConvParams& params, Layer* layer,
                     std::vector<int32_t>* output_dims) {
  if (t.weights->dims->size != 4 || t.input->dims->size != 4) {
    return "input or weights are not four-dimensional";
  }
  const int32_t* w = t.weights->dims->data();
  const int32_t* x = t.input->dims->data();
  if (x[3] != w[3]) return "grouped convolution";
  if (!HasChannels(*t.output, w[0])) return "output of another shape";
  if (w[1] > kMaxKernel || w[2] > kMaxKernel) return "kernel too large";
  if (params.dilation_width_factor < 1 ||
      params.dilation_width_factor > kMaxDilation ||
      params.dilation_height_factor < 1 ||
      params.dilation_height_factor > kMaxDilation) {
    return "dilation not supported";
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
  layer->dilation_height = params.dilation_height_factor;
  layer->dilation_width = params.dilation_width_factor;
  if (!PadAxis(params.padding, x[1], layer->reach_height(), params.stride_height,
               &layer->out_height, &layer->pad_top, &layer->pad_bottom) ||
      !PadAxis(params.padding, x[2], layer->reach_width(), params.stride_width,
               &layer->out_width, &layer->pad_left, &layer->pad_right)) {
    return "kernel larger than the image";
  }
  *output_dims = {layer->batch, layer->out_height, layer->out_width, layer->outputs};
  return ReadActivation(*t.output, params.activation, &layer->output_min,
                        &layer->output_max);
}

std::string ReadLayerTensors(const NodeTensors& tensors, const GraphNode& node,
                             Layer* layer, std::vector<int32_t>* output_dims) {
  if (node.params == nullptr) return "operator options are missing";
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
      node.op == Op::kConv2d
          ? ReadConv(tensors, *static_cast<const ConvParams*>(node.params), layer,
                     output_dims)
          : ReadFullyConnected(tensors,
                               *static_cast<const FullyConnectedParams*>(node.params),
                               layer, output_dims);
  if (!reason.empty()) return reason;
  if (layer->rows() * layer->outputs > kMaxElements) return "unknown or huge shape";
  reason = ReadScales(tensors, layer);
  if (reason.empty()) reason = ReadBias(tensors, layer);
  if (!reason.empty()) return reason;
  return StaysInRange(*layer) ? "" : "outputs may overflow";
}

}  // namespace

std::string ReadLayer(const litert::Context& context, const GraphNode& node,
                      Shapes* shapes, Layer* layer, std::vector<int32_t>* output_dims) {
  Tensor input, weights, bias, output;
  if (!shapes->Find(context, node.inputs[0], &input) ||
      !shapes->Find(context, node.weights, &weights) ||
      !shapes->Find(context, node.output, &output) ||
      (node.bias >= 0 && !shapes->Find(context, node.bias, &bias))) {
    return "tensor index out of range";
  }
  const NodeTensors tensors = {&input, &weights, node.bias >= 0 ? &bias : nullptr,
                               &output};
  return ReadLayerTensors(tensors, node, layer, output_dims);
}

}  // namespace qsparse
