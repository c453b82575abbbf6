// The sum of two quantized tensors, equal to XNNPACK's to the last bit.
//
// (bias + a * multiplier[0] + b * multiplier[1]) >> shift, plus the zero point, clamped:
// fixed-point numbers with 20 bits of the larger of the two scale ratios.
#ifndef QSPARSE_ADD_ADD_H_
#define QSPARSE_ADD_ADD_H_

#include <cstddef>
#include <cstdint>

#include "blocks/kernel.h"

namespace qsparse {

// What the operator says; values are int8.
struct AddScales {
  float ratio[2];  // input scale / output scale
  int32_t input_zero_point[2];
  int32_t output_zero_point;
  int32_t output_min;
  int32_t output_max;
};

// XNNPACK leaves other ratios to the runtime, which rounds differently.
bool CanAdd(const AddScales& scales);

// Ready to run on values kept as int8 (flip 0) or xored with 0x80.
struct Addition {
  uint32_t multiplier[2];
  uint32_t bias;
  int32_t shift;
  int32_t zero_point;
  int32_t min;
  int32_t max;
};

Addition MakeAddition(const AddScales& scales, uint8_t flip);

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

AddFunction GetAdd(Isa isa, uint8_t flip);

}  // namespace qsparse

#endif  // QSPARSE_ADD_ADD_H_
