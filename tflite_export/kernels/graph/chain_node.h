// One operator of a chain, read from the model and checked.
#ifndef QSPARSE_GRAPH_CHAIN_NODE_H_
#define QSPARSE_GRAPH_CHAIN_NODE_H_

#include <cstdint>
#include <vector>

#include "graph/add_scales.h"
#include "graph/layer.h"

namespace qsparse {

struct Kernel;  // blocks/kernel.h

// Tensors go by whatever numbers the caller gives them.
struct ChainNode {
  enum class Kind : uint8_t { kLayer, kAdd, kPad, kMaxPool };

  Kind kind = Kind::kLayer;
  int32_t inputs[2] = {-1, -1};    // only sums have two
  int32_t output = -1;
  Layer layer;                     // borders and windows have no weights
  const Kernel* kernel = nullptr;  // of a layer
  AddScales scales = {};           // of a sum
  std::vector<int32_t> dims[2];    // of a sum's inputs
  std::vector<int32_t> output_dims;  // of a sum
  int32_t border = -128;           // outside the image of a border or window

  bool is_add() const { return kind == Kind::kAdd; }
  bool is_layer() const { return kind == Kind::kLayer; }
  // No kernel is made for that: only PlainNodes run it.
  bool broadcasts() const { return dims[0] != dims[1]; }
  int input_count() const { return is_add() ? 2 : 1; }
};

}  // namespace qsparse

#endif  // QSPARSE_GRAPH_CHAIN_NODE_H_
