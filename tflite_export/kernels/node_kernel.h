// The kernel that stands in the graph for one claimed node.
#ifndef QSPARSE_NODE_KERNEL_H_
#define QSPARSE_NODE_KERNEL_H_

#include "litert_abi.h"

namespace qsparse {

litert::Registration NodeKernelRegistration();

}  // namespace qsparse

#endif  // QSPARSE_NODE_KERNEL_H_
