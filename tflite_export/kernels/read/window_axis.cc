#include "read/window_axis.h"

#include <algorithm>

#include "litert/litert_abi.h"

namespace qsparse {

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

}  // namespace qsparse
