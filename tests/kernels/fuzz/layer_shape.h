// The random shape of a layer.
#ifndef QSPARSE_FUZZ_LAYER_SHAPE_H_
#define QSPARSE_FUZZ_LAYER_SHAPE_H_

#include <cstdint>

#include "layer.h"
#include "random.h"

namespace qsparse::fuzz {

// Sets the dimensions, strides and padding of `layer`.
void DrawShape(Random& random, int64_t max_macs, Layer* layer);

}  // namespace qsparse::fuzz

#endif  // QSPARSE_FUZZ_LAYER_SHAPE_H_
