#include "reference.h"

#include <cmath>

namespace qsparse::fuzz {
namespace {

// Sum of products over one pixel's channels.
int64_t Dot(const int8_t* x, const int8_t* w, int32_t count, int32_t zero_point) {
  int64_t sum = 0;
  for (int32_t c = 0; c < count; ++c) sum += (x[c] - zero_point) * w[c];
  return sum;
}

int8_t Requantize(int64_t sum, float scale, const Layer& layer) {
  // Accumulators are int32: sums that leave it wrap, as XNNPACK's do.
  const auto accumulator = static_cast<int32_t>(static_cast<uint32_t>(sum));
  // The rounding mode is the default: halves to even.
  int64_t value = std::llrint(static_cast<float>(accumulator) * scale);
  value += layer.output_zero_point;
  if (value < layer.output_min) value = layer.output_min;
  if (value > layer.output_max) value = layer.output_max;
  return static_cast<int8_t>(value);
}

}  // namespace

std::vector<int8_t> Reference(const Layer& layer, const std::vector<int8_t>& input) {
  std::vector<int8_t> output;
  output.reserve(layer.rows() * layer.outputs);
  const int64_t channels = layer.channels;
  for (int32_t b = 0; b < layer.batch; ++b) {
    for (int32_t out_y = 0; out_y < layer.out_height; ++out_y) {
      for (int32_t out_x = 0; out_x < layer.out_width; ++out_x) {
        for (int32_t n = 0; n < layer.outputs; ++n) {
          int64_t sum = layer.bias[n];
          for (int32_t ky = 0; ky < layer.kernel_height; ++ky) {
            for (int32_t kx = 0; kx < layer.kernel_width; ++kx) {
              const int32_t y = out_y * layer.stride_height - layer.pad_top +
                                ky * layer.dilation_height;
              const int32_t x = out_x * layer.stride_width - layer.pad_left +
                                kx * layer.dilation_width;
              if (y < 0 || y >= layer.height || x < 0 || x >= layer.width) continue;
              const int64_t pixel = (int64_t{b} * layer.height + y) * layer.width + x;
              const int64_t tap = (int64_t{n} * layer.kernel_height + ky) *
                                      layer.kernel_width + kx;
              sum += Dot(input.data() + pixel * channels,
                         layer.weights + tap * channels, layer.channels,
                         layer.input_zero_point);
            }
          }
          output.push_back(Requantize(sum, layer.scale[n], layer));
        }
      }
    }
  }
  return output;
}

// Both ratios become fixed-point numbers; the larger one has 21 significant bits.
std::vector<int8_t> ReferenceSum(const AddScales& scales, const std::vector<int8_t>& a,
                                 const std::vector<int8_t>& b) {
  const double larger = std::fmax(scales.ratio[0], scales.ratio[1]);
  const int shift = 20 - static_cast<int>(std::floor(std::log2(larger)));
  const double unit = std::exp2(shift);
  const int64_t a_multiplier = std::llrint(scales.ratio[0] * unit);
  const int64_t b_multiplier = std::llrint(scales.ratio[1] * unit);
  std::vector<int8_t> output;
  output.reserve(a.size());
  for (size_t i = 0; i < a.size(); ++i) {
    const int64_t sum = (a[i] - scales.input_zero_point[0]) * a_multiplier +
                        (b[i] - scales.input_zero_point[1]) * b_multiplier;
    // Halves round up: the division is a shift to the right.
    const double rounded = std::floor(static_cast<double>(sum) / unit + 0.5);
    int64_t value = static_cast<int64_t>(rounded) + scales.output_zero_point;
    if (value < scales.output_min) value = scales.output_min;
    if (value > scales.output_max) value = scales.output_max;
    output.push_back(static_cast<int8_t>(value));
  }
  return output;
}

std::vector<int8_t> ReferenceWindow(const Layer& w, int8_t border,
                                    const std::vector<int8_t>& input) {
  std::vector<int8_t> output;
  const auto at = [&](int32_t b, int32_t y, int32_t x, int32_t c) {
    if (y < 0 || y >= w.height || x < 0 || x >= w.width) return border;
    const int64_t row = (int64_t{b} * w.height + y) * w.width + x;
    return input[row * w.channels + c];
  };
  for (int32_t b = 0; b < w.batch; ++b) {
    for (int32_t y = 0; y < w.out_height; ++y) {
      for (int32_t x = 0; x < w.out_width; ++x) {
        for (int32_t c = 0; c < w.channels; ++c) {
          int8_t largest = -128;
          for (int32_t tap = 0; tap < w.taps(); ++tap) {
            const int8_t value =
                at(b, y * w.stride_height - w.pad_top + tap / w.kernel_width,
                   x * w.stride_width - w.pad_left + tap % w.kernel_width, c);
            if (value > largest) largest = value;
          }
          output.push_back(largest);
        }
      }
    }
  }
  return output;
}

}  // namespace qsparse::fuzz
