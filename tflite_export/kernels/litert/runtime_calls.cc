#include "litert/runtime_calls.h"

#include <algorithm>
#include <cstdlib>

#include "litert/tensor_reader.h"

namespace qsparse {

using litert::Context;
using litert::IntArray;
using litert::Status;

// The runtime takes the array over and releases it with free().
Status Resize(Context* context, int32_t tensor, const std::vector<int32_t>& dims) {
  litert::Tensor* const output = &context->tensors[tensor];
  if (output->dims != nullptr && SameDims(*output->dims, dims)) return litert::kOk;
  auto* array = static_cast<IntArray*>(
      std::malloc(sizeof(IntArray) + dims.size() * sizeof(int32_t)));
  if (array == nullptr) return litert::kError;
  array->size = static_cast<int32_t>(dims.size());
  std::copy(dims.begin(), dims.end(), array->data());
  return context->resize_tensor(context, output, array);
}

Status Fail(Context* context, const std::string& reason) {
  context->report_error(context, "qsparse: %s", reason.c_str());
  return litert::kError;
}

litert::Registration DelegateRegistration() {
  constexpr int32_t kBuiltinDelegate = 51;
  litert::Registration registration = {};
  registration.builtin_code = kBuiltinDelegate;
  registration.custom_name = "QSparseDelegate";
  registration.version = 1;
  return registration;
}

}  // namespace qsparse
