// The operators that the delegate knows.
#ifndef QSPARSE_GRAPH_OP_H_
#define QSPARSE_GRAPH_OP_H_

#include <cstdint>

namespace qsparse {

enum class Op : uint8_t {
  kConv2d,
  kFullyConnected,
  kAdd,
  kPad,
  kMaxPool2d,
  kBatchMatmul,
  kSoftmax
};

// Has no weights and is never part of a chain.
inline bool IsOperation(Op op) { return op == Op::kBatchMatmul || op == Op::kSoftmax; }

// As the runtime calls it.
inline const char* OpName(Op op) {
  switch (op) {
    case Op::kConv2d:
      return "CONV_2D";
    case Op::kFullyConnected:
      return "FULLY_CONNECTED";
    case Op::kPad:
      return "PAD";
    case Op::kMaxPool2d:
      return "MAX_POOL_2D";
    case Op::kBatchMatmul:
      return "BATCH_MATMUL";
    case Op::kSoftmax:
      return "SOFTMAX";
    default:
      return "ADD";
  }
}

}  // namespace qsparse

#endif  // QSPARSE_GRAPH_OP_H_
