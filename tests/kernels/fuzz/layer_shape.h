// The random shape of a layer.
#ifndef QSPARSE_FUZZ_LAYER_SHAPE_H_
#define QSPARSE_FUZZ_LAYER_SHAPE_H_

#include <cstdint>

#include "graph/layer.h"
#include "random.h"

namespace qsparse::fuzz {

// Sets the dimensions, strides and padding of `layer`.
void DrawShape(Random& random, int64_t max_macs, Layer* layer);

// Output length and padding along one axis.
void PadAxis(bool same, int32_t in, int32_t reach, int32_t stride, int32_t* out,
             int32_t* before, int32_t* after);

}  // namespace qsparse::fuzz

#endif  // QSPARSE_FUZZ_LAYER_SHAPE_H_
