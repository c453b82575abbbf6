// The two symbols the runtime looks up.
#include <string>

#include "delegate.h"
#include "options.h"

#define QSPARSE_EXPORT extern "C" __attribute__((visibility("default")))

QSPARSE_EXPORT qsparse::litert::Delegate* tflite_plugin_create_delegate(
    const char* const* keys, const char* const* values, size_t count,
    void (*report_error)(const char*)) {
  qsparse::Options options;
  const std::string error = qsparse::ParseOptions(keys, values, count, &options);
  if (!error.empty()) {
    if (report_error != nullptr) report_error(error.c_str());
    return nullptr;
  }
  return (new qsparse::SparseDelegate(options))->abi();
}

QSPARSE_EXPORT void tflite_plugin_destroy_delegate(
    qsparse::litert::Delegate* delegate) {
  if (delegate == nullptr) return;
  delete static_cast<qsparse::SparseDelegate*>(delegate->data);
}
