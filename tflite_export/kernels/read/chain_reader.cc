#include "read/chain_reader.h"

#include <algorithm>

namespace qsparse {

std::string ReadChainNode(const litert::Context& context, const GraphNode& node,
                          Shapes* shapes, ChainNode* read,
                          std::vector<int32_t>* output_dims) {
  std::copy_n(node.inputs, 2, read->inputs);
  read->output = node.output;
  std::string reason;
  switch (node.op) {
    case Op::kAdd:
      read->kind = ChainNode::Kind::kAdd;
      return ReadAddition(context, node, shapes, read, output_dims);
    case Op::kPad:
      read->kind = ChainNode::Kind::kPad;
      reason = ReadPad(context, node, shapes, &read->layer, output_dims);
      read->border = read->layer.input_zero_point;
      return reason;
    case Op::kMaxPool2d:
      read->kind = ChainNode::Kind::kMaxPool;
      return ReadMaxPool(context, node, shapes, &read->layer, output_dims);
    default:
      // Else the axes of a sum, say, would be read as weights, with options of a layer.
      if (!node.is_layer()) return "int8 arithmetic not supported";
      read->kind = ChainNode::Kind::kLayer;
      return ReadLayer(context, node, shapes, &read->layer, output_dims);
  }
}

}  // namespace qsparse
