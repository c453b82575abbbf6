// Predicts, before anything runs, whether a layer is faster here than in XNNPACK.
#ifndef QSPARSE_COST_MODEL_H_
#define QSPARSE_COST_MODEL_H_

#include <cstdint>

#include "kernel.h"
#include "layer.h"

namespace qsparse {

// XNNPACK's time divided by ours on one core, packing and unpacking included.
// `blocks` are the 4x4 blocks that will be computed.
double PredictGain(const Layer& layer, int64_t blocks, const Kernel& kernel);

}  // namespace qsparse

#endif  // QSPARSE_COST_MODEL_H_
