// Float arithmetic as XNNPACK's thread pool has it done.
#ifndef QSPARSE_BASE_DENORMALS_H_
#define QSPARSE_BASE_DENORMALS_H_

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace qsparse {

// While it lives, numbers too small to be normal are zero on this thread, as operands
// and as results.
class DenormalsAreZero {
 public:
#if defined(__x86_64__)
  DenormalsAreZero() : before_(_mm_getcsr()) { _mm_setcsr(before_ | kFlush | kZero); }
  ~DenormalsAreZero() { _mm_setcsr(before_); }
#else
  DenormalsAreZero() = default;
#endif
  DenormalsAreZero(const DenormalsAreZero&) = delete;
  DenormalsAreZero& operator=(const DenormalsAreZero&) = delete;

#if defined(__x86_64__)
 private:
  static constexpr unsigned kFlush = 0x8000, kZero = 0x0040;  // of the MXCSR register
  const unsigned before_;
#endif
};

}  // namespace qsparse

#endif  // QSPARSE_BASE_DENORMALS_H_
