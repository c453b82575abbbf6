// What the loop of a softmax is given, on every instruction set.
#ifndef QSPARSE_SOFTMAX_SOFTMAX_KERNEL_H_
#define QSPARSE_SOFTMAX_SOFTMAX_KERNEL_H_

#include <cstdint>

namespace qsparse {

inline constexpr int32_t kSoftmaxValues = 256;

struct SoftmaxArgs {
  const float* table;  // exponentials of -255 to 0 steps
  // The first bytes of all of them, as they lie in memory, then the second ones, ...
  const uint8_t* bytes;
  const int8_t* input;
  int8_t* output;
  int32_t rows;
  int32_t columns;
  float* scratch;  // kSoftmaxRows rows
};

// As many as any loop takes side by side.
inline constexpr int32_t kSoftmaxRows = 8;

using SoftmaxFunction = void (*)(const SoftmaxArgs& args);

}  // namespace qsparse

#endif  // QSPARSE_SOFTMAX_SOFTMAX_KERNEL_H_
