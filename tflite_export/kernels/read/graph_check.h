// What a subgraph as a whole allows: whether nodes may be moved, and which of them count.
#ifndef QSPARSE_READ_GRAPH_CHECK_H_
#define QSPARSE_READ_GRAPH_CHECK_H_

#include <cstdint>
#include <set>
#include <vector>

#include "litert/litert_abi.h"

namespace qsparse {

// Whoever takes nodes together moves them past others. The runtime then knows only
// which tensors a node reads: with several values of one tensor, which of them it gets
// would be chance.
bool IsWrittenOnce(litert::Context* context, const litert::IntArray& execution_plan);

// Tensors that the subgraph hands out. The runtime tells only what a partition of nodes
// hands out; asked for one of all nodes, it tells this.
std::set<int32_t> FindOutputs(litert::Context* context,
                              const litert::IntArray& execution_plan);

// Nodes that nothing `needed` depends on, in order. Whether XNNPACK makes something of them
// depends on what else it is given: by themselves they can end the process.
std::vector<int32_t> FindDeadEnds(litert::Context* context,
                                  const litert::IntArray& execution_plan,
                                  std::set<int32_t> needed);

// Tensors times themselves. XNNPACK adds those up, whoever asks for the sum or the mean,
// without rounding the squares.
std::set<int32_t> FindSquares(litert::Context* context,
                              const litert::IntArray& execution_plan);

}  // namespace qsparse

#endif  // QSPARSE_READ_GRAPH_CHECK_H_
