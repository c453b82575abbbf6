// Turns a node of the model into a Layer, or says why it cannot be one.
//
// Everything here comes from a file nobody vouches for: sizes are checked
// before they are multiplied, lengths before they are indexed.
#ifndef QSPARSE_NODE_READER_H_
#define QSPARSE_NODE_READER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "layer.h"
#include "litert_abi.h"

namespace qsparse {

struct NodeTensors {
  const litert::Tensor* input = nullptr;
  const litert::Tensor* weights = nullptr;
  const litert::Tensor* bias = nullptr;  // null when absent
  litert::Tensor* output = nullptr;
};

struct NodeIndices {
  int32_t input = -1;
  int32_t weights = -1;
  int32_t bias = -1;  // negative when absent
  int32_t output = -1;
};

// All three return an empty string on success, else the reason.
std::string ReadIndices(const litert::Node& node, NodeIndices* indices);

// Accepts only indices inside the context.
std::string FindTensors(const litert::Context& context, const NodeIndices& indices,
                        NodeTensors* tensors);

// Reads the node; `output_dims` receives the shape its output must have.
std::string ReadNode(const NodeTensors& tensors, const void* params, bool is_conv,
                     Layer* layer, std::vector<int32_t>* output_dims);

bool SameDims(const litert::IntArray& dims, const std::vector<int32_t>& expected);

}  // namespace qsparse

#endif  // QSPARSE_NODE_READER_H_
