#include "chain/pool.h"

#include <algorithm>
#include <cstring>

#include "blocks/kernel.h"

namespace qsparse {
namespace {

// Windows are separable: first down the columns, then along the row that is left.
template <typename T>
void KeepLarger(const uint8_t* from, size_t bytes, uint8_t* to) {
  for (size_t i = 0; i < bytes; ++i) {
    to[i] = static_cast<uint8_t>(
        std::max<T>(static_cast<T>(to[i]), static_cast<T>(from[i])));
  }
}

}  // namespace

Pool::Pool(const Layer& window, uint8_t border, uint8_t flip, ThreadPool* pool)
    : window_(window), border_(border), is_unsigned_(flip != 0), pool_(pool) {}

bool Pool::Allocate(const PlaneFormat& input, const PlaneFormat& output) {
  input_ = input;
  output_ = output;
  const int32_t width = (window_.out_width - 1) * window_.stride_width +
                        std::max(window_.kernel_width, window_.stride_width);
  row_bytes_ =
      static_cast<size_t>(std::max(width, window_.pad_left + window_.width)) * kBlock;
  rows_ = AllocateAligned(2 * row_bytes_ * pool_->threads());
  return rows_ != nullptr;
}

template <typename T>
void Pool::RunPlane(const uint8_t* input, uint8_t* row, uint8_t* output) const {
  const Layer& w = window_;
  const size_t in_bytes = static_cast<size_t>(w.width) * kBlock;
  const size_t out_bytes = static_cast<size_t>(w.out_width) * kBlock;
  uint8_t* const image = row + static_cast<size_t>(w.pad_left) * kBlock;
  uint8_t* const taken = row + row_bytes_;
  std::memset(row, border_, row_bytes_);
  for (int32_t y = 0; y < w.out_height; ++y, output += out_bytes) {
    bool any = false;
    for (int32_t ky = 0; ky < w.kernel_height; ++ky) {
      const int32_t from = y * w.stride_height + ky - w.pad_top;
      if (from < 0 || from >= w.height) continue;
      const uint8_t* const source = input + static_cast<size_t>(from) * in_bytes;
      if (any) {
        KeepLarger<T>(source, in_bytes, image);
      } else {
        std::memcpy(image, source, in_bytes);
      }
      any = true;
    }
    const int32_t first = y * w.stride_height - w.pad_top;
    if (!any) {
      std::memset(image, border_, in_bytes);
    } else if (first < 0 || first + w.kernel_height > w.height) {
      std::memset(taken, border_, in_bytes);
      KeepLarger<T>(taken, in_bytes, image);
    }
    CopyEvery(w.stride_width, w.out_width, row, output);
    for (int32_t kx = 1; kx < w.kernel_width; ++kx) {
      CopyEvery(w.stride_width, w.out_width, row + static_cast<size_t>(kx) * kBlock,
                taken);
      KeepLarger<T>(taken, out_bytes, output);
    }
  }
}

void Pool::Run(const uint8_t* input, uint8_t* output) const {
  const int32_t quads = output_.quads();
  pool_->Run(quads, [&](int32_t quad, int32_t thread) {
    uint8_t* const row = rows_.get() + 2 * row_bytes_ * thread;
    const uint8_t* const from = input_.At(input, quad);
    uint8_t* const to = output_.At(output, quad);
    is_unsigned_ ? RunPlane<uint8_t>(from, row, to) : RunPlane<int8_t>(from, row, to);
    FillBefore(output_, quad, quad + 1, output);
    FillAfter(output_, quad, quad + 1, output);
  });
}

}  // namespace qsparse
