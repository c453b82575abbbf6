// What a sum of two quantized tensors says of itself.
#ifndef QSPARSE_GRAPH_ADD_SCALES_H_
#define QSPARSE_GRAPH_ADD_SCALES_H_

#include <cstdint>

namespace qsparse {

// Values are int8.
struct AddScales {
  float ratio[2];  // input scale / output scale
  int32_t input_zero_point[2];
  int32_t output_zero_point;
  int32_t output_min;
  int32_t output_max;
};

// XNNPACK leaves other ratios to the runtime, which rounds differently.
inline bool CanAdd(const AddScales& scales) {
  for (const float ratio : scales.ratio) {
    if (!(ratio >= 0x1.0p-10f && ratio < 0x1.0p8f)) return false;
  }
  return true;
}

}  // namespace qsparse

#endif  // QSPARSE_GRAPH_ADD_SCALES_H_
