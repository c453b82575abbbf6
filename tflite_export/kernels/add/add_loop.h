// The loop of add_kernel.h, compiled once per instruction set; internal linkage, so that
// no copy can stand in for another.
#ifndef QSPARSE_ADD_ADD_LOOP_H_
#define QSPARSE_ADD_ADD_LOOP_H_

#include <algorithm>
#include <type_traits>

#include "add/add_kernel.h"

namespace qsparse {
namespace {

// T is uint8_t where values are kept flipped.
template <typename T>
void AddLoop(const Addition& add, const AddArgs& args) {
  const uint32_t first = add.multiplier[0], second = add.multiplier[1];
  const uint32_t bias = add.bias;
  const int32_t shift = add.shift, zero_point = add.zero_point;
  const int32_t min = add.min, max = add.max;
  for (int32_t plane = 0; plane < args.planes; ++plane) {
    const uint8_t* const a = args.operands[0] + plane * args.strides[0];
    const uint8_t* const b = args.operands[1] + plane * args.strides[1];
    uint8_t* const out = args.out + plane * args.out_stride;
    for (size_t i = 0; i < args.bytes; ++i) {
      // Unsigned: partial sums may wrap, the whole never leaves int32.
      const uint32_t sum = bias + first * static_cast<uint32_t>(static_cast<T>(a[i])) +
                           second * static_cast<uint32_t>(static_cast<T>(b[i]));
      const int32_t value = (static_cast<int32_t>(sum) >> shift) + zero_point;
      out[i] = static_cast<uint8_t>(std::min(std::max(value, min), max));
    }
  }
}

inline AddFunction ChooseLoop(uint8_t flip) {
  return flip == 0 ? &AddLoop<int8_t> : &AddLoop<uint8_t>;
}

}  // namespace
}  // namespace qsparse

#endif  // QSPARSE_ADD_ADD_LOOP_H_
