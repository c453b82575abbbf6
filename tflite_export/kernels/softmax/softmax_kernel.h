// What the loop of a softmax is given, on every instruction set.
#ifndef QSPARSE_SOFTMAX_SOFTMAX_KERNEL_H_
#define QSPARSE_SOFTMAX_SOFTMAX_KERNEL_H_

#include <cstdint>

namespace qsparse {

inline constexpr int32_t kSoftmaxValues = 256;

struct SoftmaxArgs {
  const float* table;  // exponentials of -255 to 0 steps
  const int8_t* input;
  int8_t* output;
  int32_t rows;
  int32_t columns;
  float* scratch;  // kSoftmaxRows rows
};

inline constexpr int32_t kSoftmaxRows = 4;

using SoftmaxFunction = void (*)(const SoftmaxArgs& args);

}  // namespace qsparse

#endif  // QSPARSE_SOFTMAX_SOFTMAX_KERNEL_H_
