// Turns a node of the model into an operation, or says why it cannot be one.
#ifndef QSPARSE_OPERATION_READER_H_
#define QSPARSE_OPERATION_READER_H_

#include <memory>
#include <string>
#include <vector>

#include "kernel.h"
#include "node_reader.h"
#include "operation.h"
#include "operation_shape.h"
#include "thread_pool.h"

namespace qsparse {

// Empty on success, else the reason. `output_dims` receives the shape of the output.
std::string ReadOperation(const litert::Context& context, const GraphNode& node,
                          Shapes* shapes, OperationShape* shape,
                          std::vector<int32_t>* output_dims);

// Null when the buffers would be too large.
std::unique_ptr<Operation> MakeOperation(const OperationShape& shape, Isa isa,
                                         ThreadPool* pool);

}  // namespace qsparse

#endif  // QSPARSE_OPERATION_READER_H_
