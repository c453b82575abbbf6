// The functions by which a runtime, or one of our own wrappers, makes delegates.
#ifndef QSPARSE_DELEGATE_PLUGIN_H_
#define QSPARSE_DELEGATE_PLUGIN_H_

#include <cstddef>

#include "litert/litert_abi.h"

#define QSPARSE_EXPORT extern "C" __attribute__((visibility("default")))

QSPARSE_EXPORT qsparse::litert::Delegate* tflite_plugin_create_delegate(
    const char* const* keys, const char* const* values, size_t count,
    void (*report_error)(const char*));
QSPARSE_EXPORT void tflite_plugin_destroy_delegate(qsparse::litert::Delegate* delegate);

// The instructions XNNPACK's int8 kernels use on this CPU, for people: "AVX512-VNNI".
QSPARSE_EXPORT const char* qsparse_xnnpack_isa();

// The ISAs this library has kernels for, best first: "avx2 portable".
QSPARSE_EXPORT const char* qsparse_isas();

#endif  // QSPARSE_DELEGATE_PLUGIN_H_
