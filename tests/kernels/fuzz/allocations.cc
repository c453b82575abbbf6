#include "allocations.h"

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdlib>

namespace {

std::atomic<int64_t> count{0};

}  // namespace

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__)

// The C library lets a program define these; operator new ends up here too.
extern "C" {

void* __libc_malloc(size_t bytes);
void* __libc_calloc(size_t items, size_t bytes);
void* __libc_realloc(void* memory, size_t bytes);
void* __libc_memalign(size_t alignment, size_t bytes);

__attribute__((visibility("default"))) void* malloc(size_t bytes) {
  ++count;
  return __libc_malloc(bytes);
}

__attribute__((visibility("default"))) void* calloc(size_t items, size_t bytes) {
  ++count;
  return __libc_calloc(items, bytes);
}

__attribute__((visibility("default"))) void* realloc(void* memory, size_t bytes) {
  ++count;
  return __libc_realloc(memory, bytes);
}

__attribute__((visibility("default"))) void* memalign(size_t alignment, size_t bytes) {
  ++count;
  return __libc_memalign(alignment, bytes);
}

__attribute__((visibility("default"))) void* aligned_alloc(size_t alignment,
                                                           size_t bytes) {
  ++count;
  return __libc_memalign(alignment, bytes);
}

__attribute__((visibility("default"))) int posix_memalign(void** memory,
                                                          size_t alignment,
                                                          size_t bytes) {
  ++count;
  *memory = __libc_memalign(alignment, bytes);
  return *memory == nullptr ? ENOMEM : 0;
}

}  // extern "C"

#endif

namespace qsparse::fuzz {

int64_t Allocations() { return count.load(); }

bool AllocationsAreCounted() {
  // Through volatile pointers, so that no compiler removes the pair.
  void* (*volatile allocate)(size_t) = std::malloc;
  void (*volatile release)(void*) = std::free;
  const int64_t before = Allocations();
  release(allocate(1));
  return Allocations() == before + 1;
}

}  // namespace qsparse::fuzz
