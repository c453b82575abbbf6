// Predicts, before anything runs, whether a layer is faster here than in XNNPACK.
//
// The CPU is an argument like any other: any can be asked about on any.
#ifndef QSPARSE_PLAN_COST_MODEL_H_
#define QSPARSE_PLAN_COST_MODEL_H_

#include <cstdint>

#include "base/cpu.h"
#include "blocks/kernel.h"
#include "graph/chain_node.h"
#include "graph/layer.h"
#include "graph/operation_shape.h"
#include "rows/row_kernel.h"

namespace qsparse {

// Times of one core, in a unit that all layers of one CPU share.
struct Cost {
  double pack = 0;     // ours: rows of the input to the kernel's layout
  double compute = 0;  // ours: products and requantization
  double unpack = 0;   // ours: results to rows of the output
  double call = 0;     // of any invocation, ours or XNNPACK's
  double xnnpack = 0;  // XNNPACK's whole layer

  double ours() const { return pack + compute + unpack + call; }
  double gain() const { return xnnpack / ours(); }
  // The part of `call` that nodes run together, in one delegate, pay once.
  double invocation() const { return 0.9 * call; }
  // Ours where both sides are in planes, without `invocation`.
  double chained(const Layer& layer, const Kernel& kernel) const;
};

// `blocks` are the 4x4 blocks that will be computed.
Cost EstimateCost(const Cpu& cpu, const Layer& layer, int64_t blocks,
                  const Kernel& kernel);

// Of what is no layer, by the shape of its output; packing is that of one input.
Cost EstimateCost(Isa isa, const ChainNode& node, int64_t rows, int64_t channels);

// Of an operator that the runtime would compute itself, in plain C++, but for matrix
// products that XNNPACK takes.
Cost EstimateCost(const Cpu& cpu, Isa isa, const OperationShape& shape);

// `entries` are those of CountEntries.
Cost EstimateCost(const Cpu& cpu, const Layer& layer, int64_t entries,
                  const RowKernel& kernel);

// The 4x4 blocks of a layer that skips none.
int64_t AllBlocks(const Layer& layer);

// Entries if no output and no window had more nonzeros than its fair share.
int64_t FewestEntries(const Layer& layer, const RowKernel& kernel, double density);

}  // namespace qsparse

#endif  // QSPARSE_PLAN_COST_MODEL_H_
