// The largest value of a window, or, with a window of one, an image with a border.
#ifndef QSPARSE_CHAIN_POOL_H_
#define QSPARSE_CHAIN_POOL_H_

#include <cstdint>

#include "base/aligned_buffer.h"
#include "base/thread_pool.h"
#include "blocks/planes.h"
#include "graph/layer.h"

namespace qsparse {

// Reads and writes tensors in planes; what lies outside the image is `border`, a byte
// as the planes keep it.
class Pool {
 public:
  // Uses the shape of `window`, not its weights.
  Pool(const Layer& window, uint8_t border, uint8_t flip, ThreadPool* pool);

  bool Allocate(const PlaneFormat& input, const PlaneFormat& output);
  void Run(const uint8_t* input, uint8_t* output) const;

 private:
  template <typename T>
  void RunPlane(const uint8_t* input, uint8_t* row, uint8_t* output) const;

  const Layer window_;
  const uint8_t border_;
  const bool is_unsigned_;  // how bytes compare
  ThreadPool* const pool_;
  PlaneFormat input_;
  PlaneFormat output_;
  size_t row_bytes_ = 0;
  AlignedBuffer rows_;  // per thread: a padded row, and the same split by stride
};

}  // namespace qsparse

#endif  // QSPARSE_CHAIN_POOL_H_
