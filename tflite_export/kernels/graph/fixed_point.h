// How LiteRT scales a sum in integers.
#ifndef QSPARSE_GRAPH_FIXED_POINT_H_
#define QSPARSE_GRAPH_FIXED_POINT_H_

#include <cstdint>

namespace qsparse {

// A sum becomes round(round(sum * multiplier / 2^31) / 2^shift) + zero_point: the first
// rounds halves up, the second away from zero.
struct FixedPoint {
  int32_t multiplier = 0;
  int32_t shift = 1;  // 1 to 30
  int32_t zero_point = 0;
};

}  // namespace qsparse

#endif  // QSPARSE_GRAPH_FIXED_POINT_H_
