/* The delegate for applications that link it statically: C, C++, Objective-C and,
 * through ios/module.modulemap, Swift. */
#ifndef QSPARSE_EMBED_QSPARSE_DELEGATE_H_
#define QSPARSE_EMBED_QSPARSE_DELEGATE_H_

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

struct TfLiteDelegate;

/* Creates a delegate from `count` options, keys[i] being set to values[i]; both may
 * be null if there are none. Returns null for an option it does not know or a value
 * that is out of range, after telling `report_error` (which may be null) why. */
struct TfLiteDelegate* QSparseDelegateCreate(const char* const* keys,
                                             const char* const* values, size_t count,
                                             void (*report_error)(const char* message));

/* Deletes a delegate, once no interpreter uses it any more. Null is ignored. */
void QSparseDelegateDelete(struct TfLiteDelegate* delegate);

#ifdef __cplusplus
}
#endif

#endif /* QSPARSE_EMBED_QSPARSE_DELEGATE_H_ */
