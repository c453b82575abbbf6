// Turns a node of the model into the shape of an operation, or says why it is none.
#ifndef QSPARSE_READ_OPERATION_READER_H_
#define QSPARSE_READ_OPERATION_READER_H_

#include <string>
#include <vector>

#include "graph/operation_shape.h"
#include "read/node_reader.h"

namespace qsparse {

// Empty on success, else the reason. `output_dims` receives the shape of the output.
std::string ReadOperation(const litert::Context& context, const GraphNode& node,
                          Shapes* shapes, OperationShape* shape,
                          std::vector<int32_t>* output_dims);

}  // namespace qsparse

#endif  // QSPARSE_READ_OPERATION_READER_H_
