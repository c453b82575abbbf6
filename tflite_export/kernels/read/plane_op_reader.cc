// What can stand between the layers of a chain: sums, borders, windows.
#include <cstring>

#include "litert/tensor_reader.h"
#include "read/broadcast.h"
#include "read/node_reader.h"
#include "read/window_axis.h"

namespace qsparse {

using litert::Tensor;

std::string ReadAddition(const litert::Context& context, const GraphNode& node,
                         Shapes* shapes, ChainNode* sum,
                         std::vector<int32_t>* output_dims) {
  AddScales* const scales = &sum->scales;
  Layer* const shape = &sum->layer;
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
    sum->dims[i].assign(dims, dims + input.dims->size);
  }
  if (!Broadcast(sum->dims[0], sum->dims[1], output_dims)) return "shapes do not match";
  int64_t count = 1;
  for (const int32_t dim : *output_dims) {
    count *= dim;
    if (count > kMaxElements) return "unknown or huge shape";
  }
  sum->output_dims = *output_dims;
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
  if (!HasChannels(output, dims[3])) return "output of another shape";
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

}  // namespace qsparse
