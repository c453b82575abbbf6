#include "delegate/unread_kernel.h"

#include "litert/runtime_calls.h"

namespace qsparse {
namespace {

litert::Status DoNothing(litert::Context*, litert::Node*) { return litert::kOk; }

}  // namespace

litert::Registration UnreadKernelRegistration() {
  litert::Registration registration = DelegateRegistration();
  registration.prepare = DoNothing;
  registration.invoke = DoNothing;
  return registration;
}

}  // namespace qsparse
