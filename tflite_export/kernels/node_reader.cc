#include "node_reader.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "tensor_reader.h"

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

constexpr int32_t kMaxKernel = 15;
constexpr int32_t kMaxStride = 8;
constexpr int32_t kMaxDilation = 64;

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

const char* OpName(Op op) {
  switch (op) {
    case Op::kConv2d:
      return "CONV_2D";
    case Op::kFullyConnected:
      return "FULLY_CONNECTED";
    case Op::kPad:
      return "PAD";
    case Op::kMaxPool2d:
      return "MAX_POOL_2D";
    case Op::kBatchMatmul:
      return "BATCH_MATMUL";
    case Op::kSoftmax:
      return "SOFTMAX";
    default:
      return "ADD";
  }
}

bool IsOperation(Op op) { return op == Op::kBatchMatmul || op == Op::kSoftmax; }

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

std::string ReadAddition(const litert::Context& context, const GraphNode& node,
                         Shapes* shapes, AddScales* scales, Layer* shape,
                         std::vector<int32_t>* output_dims) {
  if (node.params == nullptr) return "operator options are missing";
  Tensor output;
  if (!shapes->Find(context, node.output, &output)) return "tensor index out of range";
  PerTensor q;
  if (output.type != litert::kTypeInt8 || !ReadPerTensor(output, &q)) {
    return "not int8, quantized per tensor";
  }
  scales->output_zero_point = q.zero_point;
  scales->output_min = -128;
  scales->output_max = 127;
  const float output_scale = q.scale;
  for (int i = 0; i < 2; ++i) {
    Tensor input;
    if (!shapes->Find(context, node.inputs[i], &input)) {
      return "tensor index out of range";
    }
    if (input.type != litert::kTypeInt8 || !ReadPerTensor(input, &q)) {
      return "not int8, quantized per tensor";
    }
    if (input.allocation_type == litert::kMmapRo) return "adds a constant";
    if (ElementCount(input) < 0) return "unknown or huge shape";
    scales->ratio[i] = q.scale / output_scale;
    scales->input_zero_point[i] = q.zero_point;
    const int32_t* dims = input.dims->data();
    if (i == 0) {
      output_dims->assign(dims, dims + input.dims->size);
    } else if (!SameDims(*input.dims, *output_dims)) {
      return "broadcasts";
    }
  }
  if (!CanAdd(*scales)) return "scales too far apart";
  shape->channels = shape->outputs = output_dims->back();
  shape->batch = 1;
  for (size_t i = 0; i + 1 < output_dims->size(); ++i) shape->batch *= (*output_dims)[i];
  return ReadActivation(output,
                        static_cast<const litert::AddParams*>(node.params)->activation,
                        &scales->output_min, &scales->output_max);
}

namespace {

// What borders and windows have in common: images whose values keep their meaning.
std::string ReadImages(const litert::Context& context, const GraphNode& node,
                       Shapes* shapes, Layer* window) {
  Tensor input, output;
  if (!shapes->Find(context, node.inputs[0], &input) ||
      !shapes->Find(context, node.output, &output)) {
    return "tensor index out of range";
  }
  PerTensor in, out;
  if (input.type != litert::kTypeInt8 || output.type != litert::kTypeInt8 ||
      !ReadPerTensor(input, &in) || !ReadPerTensor(output, &out)) {
    return "not int8, quantized per tensor";
  }
  if (in.scale != out.scale || in.zero_point != out.zero_point) {
    return "changes the scale";
  }
  if (ElementCount(input) < 0) return "unknown or huge shape";
  if (input.dims->size != 4) return "not images";
  const int32_t* dims = input.dims->data();
  window->batch = dims[0];
  window->height = dims[1];
  window->width = dims[2];
  window->channels = window->outputs = dims[3];
  window->input_zero_point = window->output_zero_point = in.zero_point;
  return "";
}

std::string FinishImages(const Layer& window, std::vector<int32_t>* output_dims) {
  if (window.rows() * window.outputs > kMaxElements) return "unknown or huge shape";
  *output_dims = {window.batch, window.out_height, window.out_width, window.outputs};
  return "";
}

}  // namespace

std::string ReadPad(const litert::Context& context, const GraphNode& node,
                    Shapes* shapes, Layer* window, std::vector<int32_t>* output_dims) {
  std::string reason = ReadImages(context, node, shapes, window);
  if (!reason.empty()) return reason;
  constexpr int kAxes = 4;
  int32_t border[kAxes][2];
  Tensor tensor;
  if (!shapes->Find(context, node.weights, &tensor) ||
      tensor.type != litert::kTypeInt32 || !IsConstant(tensor, sizeof(border))) {
    return "border is not constant";
  }
  std::memcpy(border, tensor.data, sizeof(border));
  for (int axis = 0; axis < kAxes; ++axis) {
    for (const int32_t size : border[axis]) {
      const bool is_image_axis = axis == 1 || axis == 2;
      if (size < 0 || size > (is_image_axis ? kMaxKernel : 0)) {
        return "border not supported";
      }
    }
  }
  window->pad_top = border[1][0];
  window->pad_bottom = border[1][1];
  window->pad_left = border[2][0];
  window->pad_right = border[2][1];
  window->out_height = window->height + border[1][0] + border[1][1];
  window->out_width = window->width + border[2][0] + border[2][1];
  return FinishImages(*window, output_dims);
}

std::string ReadMaxPool(const litert::Context& context, const GraphNode& node,
                        Shapes* shapes, Layer* window,
                        std::vector<int32_t>* output_dims) {
  std::string reason = ReadImages(context, node, shapes, window);
  if (!reason.empty()) return reason;
  if (node.params == nullptr) return "operator options are missing";
  const auto& params = *static_cast<const litert::PoolParams*>(node.params);
  if (params.activation != litert::kActivationNone) {
    return "fused activation not supported";
  }
  if (params.filter_height < 1 || params.filter_height > kMaxKernel ||
      params.filter_width < 1 || params.filter_width > kMaxKernel) {
    return "window not supported";
  }
  if (params.stride_width < 1 || params.stride_width > kMaxStride ||
      params.stride_height < 1 || params.stride_height > kMaxStride) {
    return "stride not supported";
  }
  if (params.padding != litert::kPaddingSame && params.padding != litert::kPaddingValid) {
    return "padding not supported";
  }
  window->kernel_height = params.filter_height;
  window->kernel_width = params.filter_width;
  window->stride_height = params.stride_height;
  window->stride_width = params.stride_width;
  if (!PadAxis(params.padding, window->height, window->kernel_height,
               window->stride_height, &window->out_height, &window->pad_top,
               &window->pad_bottom) ||
      !PadAxis(params.padding, window->width, window->kernel_width,
               window->stride_width, &window->out_width, &window->pad_left,
               &window->pad_right)) {
    return "window larger than the image";
  }
  return FinishImages(*window, output_dims);
}

bool SameDims(const IntArray& dims, const std::vector<int32_t>& expected) {
  return dims.size == static_cast<int32_t>(expected.size()) &&
         std::equal(expected.begin(), expected.end(), dims.data());
}

}  // namespace qsparse
