// What is known of an operation before its buffers are there.
#ifndef QSPARSE_GRAPH_OPERATION_SHAPE_H_
#define QSPARSE_GRAPH_OPERATION_SHAPE_H_

#include <cstdint>
#include <vector>

#include "graph/fixed_point.h"
#include "graph/op.h"

namespace qsparse {

struct MatmulShape {
  int32_t batch = 1;  // products
  int32_t matrices[2] = {1, 1};
  // Which matrix of either side goes into each product, where a side is repeated.
  std::vector<int32_t> repeated[2];
  int32_t rows = 0;
  int32_t columns = 0;
  int32_t depth = 0;
  bool transposed[2] = {false, false};  // depth is first on the left, last on the right
  int32_t zero_point[2] = {0, 0};
  FixedPoint fixed;
  // Where XNNPACK takes the operator: sums are scaled by it in single precision, and
  // rounded once, half to even. Else 0.
  float factor = 0;

  int64_t macs() const { return int64_t{batch} * rows * columns * depth; }
};

// Results are 256ths, and the smallest of them is -128.
inline constexpr float kSoftmaxScale = 1.0f / 256.0f;
inline constexpr int32_t kSoftmaxZeroPoint = -128;

struct SoftmaxShape {
  int64_t rows = 0;
  int32_t columns = 0;
  float exponent = 0;  // of a step: negative
};

// Values where a mask is true, else one value; rows of either may be repeated.
struct ChoiceShape {
  int32_t columns = 0;
  int32_t mask_columns = 0;        // or 1
  int64_t mask_bytes = 0;
  int64_t value_bytes = 0;
  std::vector<int32_t> mask_rows;   // which one goes with each row
  std::vector<int32_t> value_rows;  // likewise; empty where each has its own
  int8_t otherwise = 0;

  int64_t values() const { return static_cast<int64_t>(mask_rows.size()) * columns; }
};

// A function of one value, as a table.
struct LookupShape {
  int64_t values = 0;
  int8_t table[256] = {};  // of -128 first
};

// What was read of a node for which IsOperation holds.
struct OperationShape {
  Op op = Op::kSoftmax;
  MatmulShape matmul;
  SoftmaxShape softmax;
  ChoiceShape choice;
  LookupShape lookup;

  int64_t macs() const { return op == Op::kBatchMatmul ? matmul.macs() : 0; }
};

}  // namespace qsparse

#endif  // QSPARSE_GRAPH_OPERATION_SHAPE_H_
