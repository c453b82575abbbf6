// What the loops of a row are given, on every instruction set.
#ifndef QSPARSE_REGIONS_ROW_MATH_H_
#define QSPARSE_REGIONS_ROW_MATH_H_

#include <cstdint>

#include "base/cpu.h"
#include "graph/row_node.h"

namespace qsparse {

// Of two operands, which one is a single value.
enum class Spread : uint8_t { kNone, kLeft, kRight };

struct RowStep {
  RowOp op = RowOp::kAdd;
  Spread spread = Spread::kNone;
  int32_t columns = 0;  // of the longer operand
  const void* inputs[4] = {};
  void* output = nullptr;
  float scale = 1.0f;  // of what is int8; to round, its reciprocal
  int32_t zero_point = 0;
};

using RowFunction = void (*)(const RowStep& step);

// Equal to XNNPACK's arithmetic on that CPU, to the last bit; null where that is not
// known.
RowFunction GetRowFunction(XnnpackIsa isa);

}  // namespace qsparse

#endif  // QSPARSE_REGIONS_ROW_MATH_H_
