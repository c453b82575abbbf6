// What the runtime calls in place of a node that was taken as an operation.
#ifndef QSPARSE_DELEGATE_OPERATION_KERNEL_H_
#define QSPARSE_DELEGATE_OPERATION_KERNEL_H_

#include "litert/litert_abi.h"

namespace qsparse {

// The delegate's data must be a SharedState.
litert::Registration OperationKernelRegistration();

}  // namespace qsparse

#endif  // QSPARSE_DELEGATE_OPERATION_KERNEL_H_
