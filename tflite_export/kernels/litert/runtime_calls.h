// What kernels of the delegate ask of the runtime.
#ifndef QSPARSE_LITERT_RUNTIME_CALLS_H_
#define QSPARSE_LITERT_RUNTIME_CALLS_H_

#include <string>
#include <vector>

#include "litert/litert_abi.h"

namespace qsparse {

// Does nothing where the tensor has that shape already.
litert::Status Resize(litert::Context* context, int32_t tensor,
                      const std::vector<int32_t>& dims);

// Reports the reason and returns an error.
litert::Status Fail(litert::Context* context, const std::string& reason);

// A registration without functions, for what stands in for nodes.
litert::Registration DelegateRegistration();

}  // namespace qsparse

#endif  // QSPARSE_LITERT_RUNTIME_CALLS_H_
