#include "delegate/plugin.h"

#include <string>

#include "base/cpu.h"
#include "blocks/kernel_table.h"
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
  delete qsparse::SparseDelegate::Of(delegate);
}

const char* qsparse_xnnpack_isa() {
  return qsparse::XnnpackIsaName(qsparse::ThisCpu().xnnpack);
}

const char* qsparse_isas() {
  static const std::string names = [] {
    std::string listed;
    for (const qsparse::Kernel* kernel : qsparse::kPlaneKernels) {
      if (kernel->max_rows != 0) continue;  // beside another of its ISA
      if (!listed.empty()) listed += ' ';
      listed += qsparse::IsaName(kernel->isa);
    }
    return listed;
  }();
  return names.c_str();
}
