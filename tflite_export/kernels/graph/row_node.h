// A node of float arithmetic that looks at one row of its tensors at a time.
#ifndef QSPARSE_GRAPH_ROW_NODE_H_
#define QSPARSE_GRAPH_ROW_NODE_H_

#include <cstdint>
#include <vector>

namespace qsparse {

enum class RowOp : uint8_t {
  kDequantize,
  kQuantize,
  kAdd,
  kSubtract,
  kMultiply,
  kSquaredDifference,
  kNegate,
  kReciprocalRoot,
  kSum,  // of a row
  // What several nodes are together (regions/fuse.cc).
  kScaled,                   // dequantize(a) * b
  kScaledSum,                // dequantize(a) * b + c
  kMultiplyAdd,              // a * b + c
  kSumOfSquaredDifferences,  // of a row, from one value
  kNormalize                 // t = b * c: a * t + d * t
};

// Rows of `columns` values. Of fewer rows than the node has, the first follows the last,
// unless `row_of` says for each row of the node which one goes with it.
struct RowTensor {
  int32_t index = -1;
  int64_t rows = 1;
  int32_t columns = 1;
  bool is_int8 = false;
  const void* constant = nullptr;  // what it holds, if that never changes
  std::vector<int32_t> row_of;

  int64_t bytes() const {
    return rows * columns * (is_int8 ? 1 : int64_t{sizeof(float)});
  }
};

struct RowNode {
  RowOp op = RowOp::kAdd;
  int32_t input_count = 1;
  RowTensor inputs[4];
  RowTensor output;
  // Of what is int8.
  float scale = 1.0f;
  int32_t zero_point = 0;

  int64_t rows() const { return output.rows; }
  int32_t columns() const {
    const bool sums = op == RowOp::kSum || op == RowOp::kSumOfSquaredDifferences;
    return sums ? inputs[0].columns : output.columns;
  }
};

}  // namespace qsparse

#endif  // QSPARSE_GRAPH_ROW_NODE_H_
