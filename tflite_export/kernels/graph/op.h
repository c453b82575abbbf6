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
  kSoftmax,
  kSelectV2,
  kGelu,
  kDequantize,
  kQuantize,
  kMul,
  kSub,
  kSquaredDifference,
  kNeg,
  kRsqrt,
  kSum
};

// Has no weights and is never part of a chain.
inline bool IsOperation(Op op) {
  return op == Op::kBatchMatmul || op == Op::kSoftmax || op == Op::kSelectV2 ||
         op == Op::kGelu;
}

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
    case Op::kSelectV2:
      return "SELECT_V2";
    case Op::kGelu:
      return "GELU";
    case Op::kDequantize:
      return "DEQUANTIZE";
    case Op::kQuantize:
      return "QUANTIZE";
    case Op::kMul:
      return "MUL";
    case Op::kSub:
      return "SUB";
    case Op::kSquaredDifference:
      return "SQUARED_DIFFERENCE";
    case Op::kNeg:
      return "NEG";
    case Op::kRsqrt:
      return "RSQRT";
    case Op::kSum:
      return "SUM";
    default:
      return "ADD";
  }
}

}  // namespace qsparse

#endif  // QSPARSE_GRAPH_OP_H_
