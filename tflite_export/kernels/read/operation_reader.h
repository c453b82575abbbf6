// Turns a node of the model into an operation, or says why it cannot be one.
#ifndef QSPARSE_READ_OPERATION_READER_H_
#define QSPARSE_READ_OPERATION_READER_H_

#include <memory>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "blocks/kernel.h"
#include "graph/operation_shape.h"
#include "layers/operation.h"
#include "read/node_reader.h"

namespace qsparse {

// Empty on success, else the reason. `output_dims` receives the shape of the output.
std::string ReadOperation(const litert::Context& context, const GraphNode& node,
                          Shapes* shapes, OperationShape* shape,
                          std::vector<int32_t>* output_dims);

// Null when the buffers would be too large.
std::unique_ptr<Operation> MakeOperation(const OperationShape& shape, Isa isa,
                                         ThreadPool* pool);

}  // namespace qsparse

#endif  // QSPARSE_READ_OPERATION_READER_H_
