#include "guarded_buffer.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>

namespace qsparse::fuzz {
namespace {

constexpr size_t kPage = 65536;  // a multiple of every page size in use
constexpr size_t kGuard = 256;
constexpr uint8_t kPattern = 0x5a;

}  // namespace

GuardedBuffer::~GuardedBuffer() {
  if (map_ != nullptr) munmap(map_, capacity_ + 2 * kPage);
}

void GuardedBuffer::Grow(size_t bytes) {
  if (map_ != nullptr) munmap(map_, capacity_ + 2 * kPage);
  capacity_ = (2 * bytes / kPage + 1) * kPage;
  void* map = mmap(nullptr, capacity_ + 2 * kPage, PROT_NONE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (map == MAP_FAILED) std::abort();
  map_ = static_cast<uint8_t*>(map);
  if (mprotect(map_ + kPage, capacity_, PROT_READ | PROT_WRITE) != 0) std::abort();
}

int8_t* GuardedBuffer::Place(size_t bytes, bool at_end) {
  if (bytes + kGuard > capacity_) Grow(bytes + kGuard);
  uint8_t* data = map_ + kPage + (at_end ? capacity_ - bytes : 0);
  guard_ = at_end ? data - kGuard : data + bytes;
  std::fill_n(guard_, kGuard, kPattern);
  return reinterpret_cast<int8_t*>(data);
}

bool GuardedBuffer::Intact() const {
  return std::all_of(guard_, guard_ + kGuard, [](uint8_t b) { return b == kPattern; });
}

}  // namespace qsparse::fuzz
