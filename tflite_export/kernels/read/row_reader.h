// Turns a node of the model into float arithmetic on rows, or says why it is none.
#ifndef QSPARSE_READ_ROW_READER_H_
#define QSPARSE_READ_ROW_READER_H_

#include <string>
#include <vector>

#include "graph/row_node.h"
#include "read/node_reader.h"

namespace qsparse {

// Whether it is arithmetic in float, or leads there or back: int8 sums share operators
// with float ones.
bool IsRowNode(const litert::Context& context, const GraphNode& node);

// Empty on success, else the reason. `output_dims` receives the shape of the output.
std::string ReadRowNode(const litert::Context& context, const GraphNode& node,
                        Shapes* shapes, RowNode* read,
                        std::vector<int32_t>* output_dims);

}  // namespace qsparse

#endif  // QSPARSE_READ_ROW_READER_H_
