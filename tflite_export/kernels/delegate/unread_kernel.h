// What the runtime calls in place of nodes that no output depends on: nothing is done.
#ifndef QSPARSE_DELEGATE_UNREAD_KERNEL_H_
#define QSPARSE_DELEGATE_UNREAD_KERNEL_H_

#include "litert/litert_abi.h"

namespace qsparse {

litert::Registration UnreadKernelRegistration();

}  // namespace qsparse

#endif  // QSPARSE_DELEGATE_UNREAD_KERNEL_H_
