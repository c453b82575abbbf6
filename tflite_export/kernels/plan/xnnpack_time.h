// Predicts what a layer costs in XNNPACK, on any CPU.
#ifndef QSPARSE_PLAN_XNNPACK_TIME_H_
#define QSPARSE_PLAN_XNNPACK_TIME_H_

#include "base/cpu.h"
#include "graph/layer.h"
#include "graph/operation_shape.h"

namespace qsparse {

// Of one core, without the fixed cost of an invocation. On ARM, where nothing could
// be timed, instructions of the inner loop stand for cycles.
double XnnpackCycles(const Cpu& cpu, const Layer& layer);

// Of products of activations, whose right sides are packed each time.
double XnnpackCycles(const Cpu& cpu, const MatmulShape& shape);

// Weights of a layer this large come from beyond the second-level cache, and with
// few rows nothing else counts.
bool IsFar(const Layer& layer);

// What a byte of such weights costs, XNNPACK's or ours.
double FarByteCycles(const Cpu& cpu);

}  // namespace qsparse

#endif  // QSPARSE_PLAN_XNNPACK_TIME_H_
