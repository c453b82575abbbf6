// Nodes that follow each other as one, so that what lies between stays in registers.
#ifndef QSPARSE_REGIONS_FUSE_H_
#define QSPARSE_REGIONS_FUSE_H_

#include <cstdint>
#include <vector>

#include "graph/row_node.h"

namespace qsparse {

// The same operations on the same values, so the same bits, but for which of two NaN is
// kept. Tensors that `leave` are
// made, and so is everything that more than one node reads.
std::vector<RowNode> Fuse(const std::vector<RowNode>& nodes,
                          const std::vector<int32_t>& leave);

}  // namespace qsparse

#endif  // QSPARSE_REGIONS_FUSE_H_
