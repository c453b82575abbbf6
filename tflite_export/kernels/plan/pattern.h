// What the zeros of a layer's weights look like.
#ifndef QSPARSE_PLAN_PATTERN_H_
#define QSPARSE_PLAN_PATTERN_H_

#include <cstdint>
#include <string>

#include "graph/layer.h"

namespace qsparse {

struct Pattern {
  std::string name;           // "dense", "16x4", "1:4 4x4", "2:4", "unstructured"
  double density = 1.0;       // share of weights that are not zero
  double block_density = 1.0; // share of 4x4 blocks that hold a nonzero
  int64_t blocks = 0;         // such blocks
};

Pattern FindPattern(const Layer& layer);

}  // namespace qsparse

#endif  // QSPARSE_PLAN_PATTERN_H_
