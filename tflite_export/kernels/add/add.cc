#include "add/add.h"

#include <cmath>

#include "add/add_loop.h"

namespace qsparse {

#define QSPARSE_ADD(isa, get) AddFunction get(uint8_t flip);
#include "add/adds.inc"
#undef QSPARSE_ADD

Addition MakeAddition(const AddScales& scales, uint8_t flip) {
  constexpr int kBits = 20;
  int exponent = 0;
  std::frexp(std::max(scales.ratio[0], scales.ratio[1]), &exponent);
  Addition add;
  add.shift = kBits - (exponent - 1);
  add.bias = uint32_t{1} << (add.shift - 1);
  const int32_t offset = flip == 0 ? 0 : 128;
  for (int i = 0; i < 2; ++i) {
    add.multiplier[i] =
        static_cast<uint32_t>(std::lrint(std::ldexp(scales.ratio[i], add.shift)));
    add.bias -= add.multiplier[i] *
                static_cast<uint32_t>(scales.input_zero_point[i] + offset);
  }
  add.zero_point = scales.output_zero_point + offset;
  add.min = scales.output_min + offset;
  add.max = scales.output_max + offset;
  return add;
}

AddFunction GetAdd(Isa isa, uint8_t flip) {
  switch (isa) {
#define QSPARSE_ADD(isa, get) \
  case Isa::isa:              \
    return get(flip);
#include "add/adds.inc"
#undef QSPARSE_ADD
    default:
      return ChooseLoop(flip);
  }
}

}  // namespace qsparse
