// Memory with a page that cannot be touched on one side of the data and bytes of
// a known pattern on the other.
#ifndef QSPARSE_FUZZ_GUARDED_BUFFER_H_
#define QSPARSE_FUZZ_GUARDED_BUFFER_H_

#include <cstddef>
#include <cstdint>

namespace qsparse::fuzz {

class GuardedBuffer {
 public:
  GuardedBuffer() = default;
  ~GuardedBuffer();
  GuardedBuffer(const GuardedBuffer&) = delete;
  GuardedBuffer& operator=(const GuardedBuffer&) = delete;

  // Room for `bytes` that end (or begin) at a page nobody may touch. What was
  // placed before is gone.
  int8_t* Place(size_t bytes, bool at_end);

  // Whether nobody wrote to the pattern on the other side.
  bool Intact() const;

 private:
  void Grow(size_t bytes);

  uint8_t* map_ = nullptr;  // a forbidden page, `capacity_` bytes, another one
  size_t capacity_ = 0;
  uint8_t* guard_ = nullptr;
};

}  // namespace qsparse::fuzz

#endif  // QSPARSE_FUZZ_GUARDED_BUFFER_H_
