#include "blocks/geometry.h"

#include <algorithm>

namespace qsparse {
namespace {

constexpr int64_t kMaxPositions = int64_t{1} << 24;

int64_t RoundUp(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

bool MakePointwise(const Layer& layer, int32_t lanes, Geometry* g) {
  const int64_t rows = layer.rows();
  const int64_t padded = RoundUp(rows, lanes);
  if (padded > kMaxPositions) return false;
  g->pointwise = true;
  g->in_rows = layer.batch * layer.height * layer.width;
  g->out_rows = static_cast<int32_t>(rows);
  g->shift = {0};
  g->source.assign(padded, -1);
  g->target.assign(padded, -1);
  int32_t p = 0;
  for (int32_t b = 0; b < layer.batch; ++b) {
    for (int32_t y = 0; y < layer.out_height; ++y) {
      for (int32_t x = 0; x < layer.out_width; ++x, ++p) {
        g->source[p] = (b * layer.height + y * layer.stride_height) * layer.width +
                       x * layer.stride_width;
        g->target[p] = p;
      }
    }
  }
  return true;
}

// Width of a packed row. With stride 1 the right padding of a row may be the
// left padding of the next one.
int32_t PackedWidth(const Layer& layer, bool masked) {
  if (masked) return layer.width;
  if (layer.stride_width == 1) {
    return layer.width + std::max(layer.pad_left, layer.pad_right);
  }
  return layer.out_width + (layer.reach_width() - 1) / layer.stride_width;
}

// Phases up to the last one that any tap falls into.
int32_t Phases(int32_t kernel, int32_t dilation, int32_t stride) {
  int32_t last = 0;
  for (int32_t k = 0; k < kernel; ++k) last = std::max(last, k * dilation % stride);
  return last + 1;
}

int64_t Computed(const Layer& layer, int32_t lanes, bool masked) {
  const int64_t width = PackedWidth(layer, masked);
  return RoundUp((layer.out_height - 1) * width + layer.out_width, lanes);
}

// One bit per computed position: is the tap of this kernel column inside its row?
void MakeMasks(const Layer& layer, int32_t lanes, int64_t computed, Geometry* g) {
  g->columns = layer.kernel_width;
  g->masks.assign(g->columns * (computed / lanes), 0);
  for (int32_t column = 0; column < g->columns; ++column) {
    uint16_t* masks = g->masks.data() + column * (computed / lanes);
    for (int64_t p = 0; p < computed; ++p) {
      const int64_t x = p % layer.width + column * layer.dilation_width - layer.pad_left;
      if (x >= 0 && x < layer.width) masks[p / lanes] |= 1u << (p % lanes);
    }
  }
}

bool CanMask(const Layer& layer, const Kernel& kernel) {
  return kernel.masks_columns && layer.kernel_width != 1 && layer.stride_width == 1 &&
         layer.out_width == layer.width;
}

}  // namespace

int32_t Geometry::Lead() const {
  const auto image = std::find_if(source.begin(), source.end(),
                                  [](int32_t row) { return row >= 0; });
  const auto lead = image - source.begin();
  if (source.end() - image < in_rows) return -1;
  for (int32_t i = 0; i < in_rows; ++i) {
    if (image[i] != i) return -1;
  }
  const bool only_padding_follows = std::all_of(
      image + in_rows, source.end(), [](int32_t row) { return row < 0; });
  return only_padding_follows ? static_cast<int32_t>(lead) : -1;
}

bool Geometry::ComputesInOrder() const {
  for (int32_t i = 0; i < computed(); ++i) {
    if (target[i] != (i < out_rows ? i : -1)) return false;
  }
  return true;
}

bool MasksColumns(const Layer& layer, const Kernel& kernel) {
  return CanMask(layer, kernel) && Computed(layer, kernel.lanes, true) < Computed(layer, kernel.lanes, false);
}

bool MakeGeometry(const Layer& layer, const Kernel& kernel, bool in_place,
                  Geometry* g) {
  *g = Geometry();
  const int32_t lanes = kernel.lanes;
  if (layer.taps() == 1) return MakePointwise(layer, lanes, g);

  const int32_t stride_y = layer.stride_height, stride_x = layer.stride_width;
  const int32_t phases_y =
      Phases(layer.kernel_height, layer.dilation_height, stride_y);
  const int32_t phases_x = Phases(layer.kernel_width, layer.dilation_width, stride_x);
  const bool masked =
      in_place ? CanMask(layer, kernel) : MasksColumns(layer, kernel);
  const int64_t width = PackedWidth(layer, masked);
  // Unmasked, the left padding is the first column of every row.
  const int64_t lead = masked ? layer.pad_left : 0;
  const int64_t pad_left = masked ? 0 : layer.pad_left;
  const int64_t height = layer.out_height + (layer.reach_height() - 1) / stride_y;
  const int64_t phase_size = height * width;
  const int64_t computed = Computed(layer, lanes, masked);

  g->images = layer.batch;
  g->in_rows = layer.height * layer.width;
  g->out_rows = layer.out_height * layer.out_width;
  int64_t furthest = 0;
  for (int32_t ky = 0; ky < layer.kernel_height; ++ky) {
    for (int32_t kx = 0; kx < layer.kernel_width; ++kx) {
      const int32_t y = ky * layer.dilation_height, x = kx * layer.dilation_width;
      const int64_t phase = (y % stride_y) * phases_x + x % stride_x;
      const int64_t shift = phase * phase_size + (y / stride_y) * width + x / stride_x;
      if (shift > kMaxPositions) return false;
      g->shift.push_back(static_cast<int32_t>(shift));
      furthest = std::max(furthest, shift);
    }
  }
  // Every read of a whole vector stays inside the packed image.
  const int64_t positions = RoundUp(
      std::max(lead + phases_y * phases_x * phase_size, furthest + computed), lanes);
  if (positions > kMaxPositions) return false;

  g->source.assign(positions, -1);
  for (int64_t p = 0; p < phases_y * phases_x * phase_size; ++p) {
    const int64_t phase = p / phase_size, within = p % phase_size;
    const int64_t y = within / width * stride_y + phase / phases_x - layer.pad_top;
    const int64_t x = within % width * stride_x + phase % phases_x - pad_left;
    if (y >= 0 && y < layer.height && x >= 0 && x < layer.width) {
      g->source[lead + p] = static_cast<int32_t>(y * layer.width + x);
    }
  }
  if (masked) MakeMasks(layer, lanes, computed, g);
  g->target.assign(computed, -1);
  for (int32_t y = 0; y < layer.out_height; ++y) {
    for (int32_t x = 0; x < layer.out_width; ++x) {
      g->target[y * width + x] = y * layer.out_width + x;
    }
  }
  return true;
}

}  // namespace qsparse
