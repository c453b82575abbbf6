#include "embed/qsparse_delegate.h"

#include "delegate/plugin.h"

TfLiteDelegate* QSparseDelegateCreate(const char* const* keys,
                                      const char* const* values, size_t count,
                                      void (*report_error)(const char*)) {
  return reinterpret_cast<TfLiteDelegate*>(
      tflite_plugin_create_delegate(keys, values, count, report_error));
}

void QSparseDelegateDelete(TfLiteDelegate* delegate) {
  tflite_plugin_destroy_delegate(
      reinterpret_cast<qsparse::litert::Delegate*>(delegate));
}
