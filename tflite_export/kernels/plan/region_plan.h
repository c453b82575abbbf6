// Which nodes of float arithmetic are taken, and which of them together.
#ifndef QSPARSE_PLAN_REGION_PLAN_H_
#define QSPARSE_PLAN_REGION_PLAN_H_

#include <cstdint>
#include <set>
#include <vector>

#include "graph/row_node.h"
#include "litert/litert_abi.h"

namespace qsparse {

struct RowReading {
  int32_t node = -1;
  size_t decision = 0;  // the planner's
  RowNode read;
};

struct PlannedRegion {
  std::vector<size_t> members;  // of the readings, in the order they run
  double gain = 0;              // predicted
};

// Nodes that hand each other rows, with no node of others between them, where that is
// predicted to gain at least `min_gain`. `outputs` are tensors that the graph hands out.
std::vector<PlannedRegion> FindRegions(litert::Context* context,
                                       const litert::IntArray& execution_plan,
                                       const std::vector<RowReading>& readings,
                                       const std::set<int32_t>& outputs,
                                       double min_gain);

}  // namespace qsparse

#endif  // QSPARSE_PLAN_REGION_PLAN_H_
