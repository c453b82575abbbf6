// A node of the model as a node of a chain.
#ifndef QSPARSE_READ_CHAIN_READER_H_
#define QSPARSE_READ_CHAIN_READER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "graph/chain_node.h"
#include "litert/litert_abi.h"
#include "read/node_reader.h"

namespace qsparse {

// Empty on success, else the reason. Leaves the kernel open.
std::string ReadChainNode(const litert::Context& context, const GraphNode& node,
                          Shapes* shapes, ChainNode* read,
                          std::vector<int32_t>* output_dims);

}  // namespace qsparse

#endif  // QSPARSE_READ_CHAIN_READER_H_
