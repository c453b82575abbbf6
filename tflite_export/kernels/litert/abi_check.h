// Guards against a runtime whose structs are laid out differently.
#ifndef QSPARSE_LITERT_ABI_CHECK_H_
#define QSPARSE_LITERT_ABI_CHECK_H_

#include <string>

#include "litert/litert_abi.h"

namespace qsparse {

// Fetches the execution plan and checks that what the structs say is plausible.
// Empty on success, else the first thing that is not.
std::string CheckAbi(litert::Context* context, litert::IntArray** plan);

}  // namespace qsparse

#endif  // QSPARSE_LITERT_ABI_CHECK_H_
