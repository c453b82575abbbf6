// What the runtime calls in place of the nodes the delegate took.
#ifndef QSPARSE_DELEGATE_SUBGRAPH_KERNEL_H_
#define QSPARSE_DELEGATE_SUBGRAPH_KERNEL_H_

#include "litert/litert_abi.h"

namespace qsparse {

// The delegate's data must be a SharedState.
litert::Registration SubgraphKernelRegistration();

}  // namespace qsparse

#endif  // QSPARSE_DELEGATE_SUBGRAPH_KERNEL_H_
