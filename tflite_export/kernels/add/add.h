// The sum of two quantized tensors, equal to XNNPACK's to the last bit.
//
// (bias + a * multiplier[0] + b * multiplier[1]) >> shift, plus the zero point, clamped:
// fixed-point numbers with 20 bits of the larger of the two scale ratios.
#ifndef QSPARSE_ADD_ADD_H_
#define QSPARSE_ADD_ADD_H_

#include <cstdint>

#include "add/add_kernel.h"
#include "base/isa.h"
#include "graph/add_scales.h"

namespace qsparse {

Addition MakeAddition(const AddScales& scales, uint8_t flip);

AddFunction GetAdd(Isa isa, uint8_t flip);

}  // namespace qsparse

#endif  // QSPARSE_ADD_ADD_H_
