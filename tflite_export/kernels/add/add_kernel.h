// What the loop of a sum is given, on every instruction set.
#ifndef QSPARSE_ADD_ADD_KERNEL_H_
#define QSPARSE_ADD_ADD_KERNEL_H_

#include <cstddef>
#include <cstdint>

namespace qsparse {

// Ready to run on values kept as int8 (flip 0) or xored with 0x80.
struct Addition {
  uint32_t multiplier[2];
  uint32_t bias;
  int32_t shift;
  int32_t zero_point;
  int32_t min;
  int32_t max;
};

// Pieces of `bytes` in each of `planes` planes. `out` may be one of the operands.
struct AddArgs {
  const uint8_t* operands[2];
  size_t strides[2];  // bytes from plane to plane
  uint8_t* out;
  size_t out_stride;
  int32_t planes;
  size_t bytes;
};

using AddFunction = void (*)(const Addition& add, const AddArgs& args);

}  // namespace qsparse

#endif  // QSPARSE_ADD_ADD_KERNEL_H_
