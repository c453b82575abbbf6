#include "layer_shape.h"

#include <algorithm>

namespace qsparse::fuzz {
namespace {

constexpr int32_t kMaxRows = 300;
constexpr int32_t kMaxChannels = 700;
constexpr int32_t kMaxImage = 40;
constexpr int32_t kMaxKernel = 7;
constexpr int32_t kMaxStride = 3;
constexpr int32_t kMaxDilation = 4;
constexpr int32_t kMaxBatch = 3;

// Small sizes and the neighbours of register widths are where mistakes hide.
int32_t Size(Random& random, int32_t max) {
  switch (random.Int(0, 3)) {
    case 0:
      return random.Int(1, max);
    case 1: {
      const int32_t unit = random.Choose({4, 8, 16, 32, 64});
      const int32_t size = unit * random.Int(1, std::max(1, max / unit));
      return std::clamp(size + random.Int(-1, 1), 1, max);
    }
    default:
      return static_cast<int32_t>(random.LogReal(1.0, max + 0.999));
  }
}

// One dimension of a kernel or stride, often the same as the other one.
int32_t Other(Random& random, int32_t first, int32_t max) {
  return random.OneIn(3) ? random.Int(1, max) : first;
}

void DrawAxis(Random& random, bool same, int32_t reach, int32_t stride, int32_t* in,
              int32_t* out, int32_t* before, int32_t* after) {
  *in = Size(random, kMaxImage);
  if (!same) *in = std::max(*in, reach);
  PadAxis(same, *in, reach, stride, out, before, after);
}

}  // namespace

// TensorFlow's "same" gives every stride one output, "valid" pads nothing.
void PadAxis(bool same, int32_t in, int32_t reach, int32_t stride, int32_t* out,
             int32_t* before, int32_t* after) {
  *before = *after = 0;
  *out = same ? 0 : 1;
  if (same) {
    while (*out * stride < in) ++*out;
    const int32_t missing = std::max(0, (*out - 1) * stride + reach - in);
    *before = missing / 2;
    *after = missing - *before;
  } else {
    while (*out * stride + reach <= in) ++*out;
  }
}

void DrawShape(Random& random, int64_t max_macs, Layer* layer) {
  const int64_t budget =
      static_cast<int64_t>(random.LogReal(1e3, static_cast<double>(max_macs)));
  Layer& l = *layer;
  l.is_conv = random.OneIn(2);
  l.channels = Size(random, kMaxChannels);
  l.outputs = Size(random, kMaxChannels);
  if (l.is_conv) {
    l.batch = random.Int(1, kMaxBatch);
    l.kernel_height = random.Int(1, kMaxKernel);
    l.kernel_width = Other(random, l.kernel_height, kMaxKernel);
    l.stride_height = random.Int(1, kMaxStride);
    l.stride_width = Other(random, l.stride_height, kMaxStride);
    const bool same = random.OneIn(2);
    if (random.OneIn(3)) {
      l.dilation_height = random.Int(1, kMaxDilation);
      l.dilation_width = Other(random, l.dilation_height, kMaxDilation);
    }
    DrawAxis(random, same, (l.kernel_height - 1) * l.dilation_height + 1,
             l.stride_height, &l.height, &l.out_height, &l.pad_top, &l.pad_bottom);
    DrawAxis(random, same, (l.kernel_width - 1) * l.dilation_width + 1, l.stride_width,
             &l.width, &l.out_width, &l.pad_left, &l.pad_right);
  } else {
    l.batch = Size(random, kMaxRows);
  }
  const auto halve = [](int32_t* size) { *size = (*size + 1) / 2; };
  while (l.macs() > budget && std::max(l.channels, l.outputs) > 1) {
    // Not always the longest first: long and thin layers are wanted too.
    const bool rows = !l.is_conv && l.batch > 1 && random.OneIn(3);
    const bool deep = l.outputs == 1 || (l.channels > 1 && random.OneIn(2));
    halve(rows ? &l.batch : deep ? &l.channels : &l.outputs);
  }
}

}  // namespace qsparse::fuzz
