#include "add/add.h"

#include <cmath>

#include "add/add_loop.h"

namespace qsparse {

#if defined(__x86_64__)
AddFunction GetAvx512Add(uint8_t flip);
AddFunction GetAvx2Add(uint8_t flip);
#endif

bool CanAdd(const AddScales& scales) {
  for (const float ratio : scales.ratio) {
    if (!(ratio >= 0x1.0p-10f && ratio < 0x1.0p8f)) return false;
  }
  return true;
}

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
#if defined(__x86_64__)
  if (isa == Isa::kAvx512Vnni) return GetAvx512Add(flip);
  if (isa == Isa::kAvx2 || isa == Isa::kAvxVnni) return GetAvx2Add(flip);
#else
  static_cast<void>(isa);
#endif
  return ChooseLoop(flip);
}

}  // namespace qsparse
