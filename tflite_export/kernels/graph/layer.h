// One FULLY_CONNECTED or CONV_2D node, read from the model and checked.
#ifndef QSPARSE_GRAPH_LAYER_H_
#define QSPARSE_GRAPH_LAYER_H_

#include <cstdint>
#include <vector>

namespace qsparse {

struct Layer {
  bool is_conv = false;
  // Weights are [outputs][kernel_height][kernel_width][channels]; a fully
  // connected layer is a 1x1 convolution of `batch` one-pixel images.
  int32_t outputs = 0;
  int32_t kernel_height = 1;
  int32_t kernel_width = 1;
  int32_t channels = 0;
  int32_t batch = 0;
  int32_t height = 1;
  int32_t width = 1;
  int32_t out_height = 1;
  int32_t out_width = 1;
  int32_t stride_height = 1;
  int32_t stride_width = 1;
  int32_t dilation_height = 1;
  int32_t dilation_width = 1;
  int32_t pad_top = 0;
  int32_t pad_left = 0;
  int32_t pad_bottom = 0;
  int32_t pad_right = 0;

  const int8_t* weights = nullptr;  // owned by the model
  std::vector<int32_t> bias;        // one per output, zero where absent
  std::vector<float> scale;         // one per output: input * weight / output
  int32_t input_zero_point = 0;
  int32_t output_zero_point = 0;
  int32_t output_min = -128;
  int32_t output_max = 127;

  // What the kernel spans of the image, the gaps between dilated taps included.
  int32_t reach_height() const { return (kernel_height - 1) * dilation_height + 1; }
  int32_t reach_width() const { return (kernel_width - 1) * dilation_width + 1; }
  int32_t taps() const { return kernel_height * kernel_width; }
  int64_t rows() const {
    return static_cast<int64_t>(batch) * out_height * out_width;
  }
  int64_t macs() const { return rows() * outputs * taps() * channels; }
};

}  // namespace qsparse

#endif  // QSPARSE_GRAPH_LAYER_H_
