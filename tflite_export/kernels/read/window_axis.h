// The axes of images under a window, as TensorFlow defines them.
#ifndef QSPARSE_READ_WINDOW_AXIS_H_
#define QSPARSE_READ_WINDOW_AXIS_H_

#include <cstdint>

namespace qsparse {

// Far above real windows, far below trouble.
inline constexpr int32_t kMaxKernel = 15;
inline constexpr int32_t kMaxStride = 8;
inline constexpr int32_t kMaxDilation = 64;

// Output length and padding along one axis. False where nothing comes out.
bool PadAxis(int32_t padding, int32_t in, int32_t kernel, int32_t stride, int32_t* out,
             int32_t* before, int32_t* after);

}  // namespace qsparse

#endif  // QSPARSE_READ_WINDOW_AXIS_H_
