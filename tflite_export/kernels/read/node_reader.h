// Turns a node of the model into a Layer or an addition, or says why it cannot be one.
//
// Everything here comes from a file nobody vouches for: sizes are checked
// before they are multiplied, lengths before they are indexed.
#ifndef QSPARSE_READ_NODE_READER_H_
#define QSPARSE_READ_NODE_READER_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "graph/chain_node.h"
#include "graph/layer.h"
#include "graph/op.h"
#include "litert/litert_abi.h"

namespace qsparse {

// False for operators that are none of ours.
bool FindOp(int32_t builtin_code, Op* op);

// What the runtime tells of a node before shapes are known. It must be kept: the
// runtime hides nodes once they are replaced.
struct GraphNode {
  int32_t index = -1;
  Op op = Op::kConv2d;
  const void* params = nullptr;
  // Activations; an addition or a product has two. Of a choice, the mask is the second.
  int32_t inputs[2] = {-1, -1};
  // Of a border: how wide it is; of a sum: over which axes; of a choice: what is taken
  // where the mask is false.
  int32_t weights = -1;
  int32_t bias = -1;     // negative when absent
  int32_t output = -1;

  bool is_layer() const { return op == Op::kConv2d || op == Op::kFullyConnected; }
  int input_count() const {
    const bool two = op == Op::kAdd || op == Op::kBatchMatmul || op == Op::kMul ||
                     op == Op::kSub || op == Op::kSquaredDifference ||
                     op == Op::kSelectV2;
    return two ? 2 : 1;
  }
};

// The functions that read return an empty string on success, else the reason.
std::string ReadGraphNode(int32_t index, Op op, const litert::Node& node,
                          GraphNode* graph_node);

// The runtime does not follow shapes of tensors it no longer sees; this does.
class Shapes {
 public:
  void Set(int32_t tensor, const std::vector<int32_t>& dims);

  // A copy of the tensor with its present shape, which must not outlive this object.
  // False for an index outside the context.
  bool Find(const litert::Context& context, int32_t index, litert::Tensor* tensor);

 private:
  std::map<int32_t, std::vector<int32_t>> arrays_;  // length first, as in IntArray
};

// `output_dims` receives the shape the output must have.
std::string ReadLayer(const litert::Context& context, const GraphNode& node,
                      Shapes* shapes, Layer* layer, std::vector<int32_t>* output_dims);
// Everything of a sum but its kind and the names of its tensors.
std::string ReadAddition(const litert::Context& context, const GraphNode& node,
                         Shapes* shapes, ChainNode* sum,
                         std::vector<int32_t>* output_dims);

// A border of zeros, or the largest value of a window, as a Layer without weights.
std::string ReadPad(const litert::Context& context, const GraphNode& node,
                    Shapes* shapes, Layer* window, std::vector<int32_t>* output_dims);
std::string ReadMaxPool(const litert::Context& context, const GraphNode& node,
                        Shapes* shapes, Layer* window,
                        std::vector<int32_t>* output_dims);

}  // namespace qsparse

#endif  // QSPARSE_READ_NODE_READER_H_
