// What the runtime calls in place of the nodes the delegate took.
#ifndef QSPARSE_SUBGRAPH_KERNEL_H_
#define QSPARSE_SUBGRAPH_KERNEL_H_

#include "litert_abi.h"

namespace qsparse {

// The delegate's data must be a SparseDelegate.
litert::Registration SubgraphKernelRegistration();

}  // namespace qsparse

#endif  // QSPARSE_SUBGRAPH_KERNEL_H_
