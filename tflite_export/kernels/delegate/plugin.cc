#include "delegate/plugin.h"

#include <string>

#include "base/cpu.h"
#include "delegate/delegate.h"
#include "plan/options.h"

qsparse::litert::Delegate* tflite_plugin_create_delegate(
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

void tflite_plugin_destroy_delegate(qsparse::litert::Delegate* delegate) {
  if (delegate == nullptr) return;
  delete static_cast<qsparse::SparseDelegate*>(delegate->data);
}

const char* qsparse_xnnpack_isa() {
  return qsparse::XnnpackIsaName(qsparse::ThisCpu().xnnpack);
}
