// Memory that starts on a cache line and is zero at first.
#ifndef QSPARSE_BASE_ALIGNED_BUFFER_H_
#define QSPARSE_BASE_ALIGNED_BUFFER_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>

namespace qsparse {

inline constexpr size_t kCacheLine = 64;
inline constexpr size_t kMaxBufferBytes = size_t{1} << 30;

struct FreeDeleter {
  void operator()(uint8_t* memory) const { std::free(memory); }
};
using AlignedBuffer = std::unique_ptr<uint8_t, FreeDeleter>;

// Null when there is not that much, or it is more than any real model needs.
inline AlignedBuffer AllocateAligned(size_t bytes) {
  void* memory = nullptr;
  bytes = std::max(bytes, kCacheLine);
  if (bytes > kMaxBufferBytes || posix_memalign(&memory, kCacheLine, bytes) != 0) {
    return nullptr;
  }
  std::memset(memory, 0, bytes);
  return AlignedBuffer(static_cast<uint8_t*>(memory));
}

}  // namespace qsparse

#endif  // QSPARSE_BASE_ALIGNED_BUFFER_H_
