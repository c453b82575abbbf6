// Loops over registers must vanish: an array of vectors that is indexed by a
// variable lives in memory, and with it every accumulator.
#ifndef QSPARSE_BASE_UNROLL_H_
#define QSPARSE_BASE_UNROLL_H_

#if defined(__clang__)
#define QSPARSE_UNROLL _Pragma("clang loop unroll(full)")
#define QSPARSE_ROLLED _Pragma("clang loop unroll(disable)")
#else
#define QSPARSE_UNROLL _Pragma("GCC unroll 16")
#define QSPARSE_ROLLED _Pragma("GCC unroll 1")
#endif

#endif  // QSPARSE_BASE_UNROLL_H_
