// Counts the allocations of the whole process.
#ifndef QSPARSE_FUZZ_ALLOCATIONS_H_
#define QSPARSE_FUZZ_ALLOCATIONS_H_

#include <cstdint>

namespace qsparse::fuzz {

// So far, in all threads.
int64_t Allocations();

// False where something else has replaced the allocator, as valgrind and the
// address sanitizer do.
bool AllocationsAreCounted();

}  // namespace qsparse::fuzz

#endif  // QSPARSE_FUZZ_ALLOCATIONS_H_
