// Softmax of int8 rows, equal to LiteRT's: exponentials from a table, summed in order.
#ifndef QSPARSE_SOFTMAX_SOFTMAX_H_
#define QSPARSE_SOFTMAX_SOFTMAX_H_

#include <memory>

#include "base/aligned_buffer.h"
#include "base/isa.h"
#include "base/thread_pool.h"
#include "graph/operation_shape.h"
#include "layers/operation.h"
#include "softmax/softmax_kernel.h"

namespace qsparse {

class Softmax : public Operation {
 public:
  // Null when the buffers would be too large.
  static std::unique_ptr<Operation> Create(const SoftmaxShape& shape, Isa isa,
                                           ThreadPool* pool);
  static bool FitsMemory(const SoftmaxShape& shape, const ThreadPool& pool);

  void Run(const int8_t* const* inputs, int8_t* output) override;
  size_t input_bytes(int) const override { return output_bytes(); }
  size_t output_bytes() const override {
    return static_cast<size_t>(shape_.rows) * static_cast<size_t>(shape_.columns);
  }

 private:
  Softmax(const SoftmaxShape& shape, Isa isa, ThreadPool* pool);

  const SoftmaxShape shape_;
  const SoftmaxFunction function_;
  ThreadPool* const pool_;
  float table_[kSoftmaxValues];
  alignas(kCacheLine) uint8_t bytes_[kSoftmaxValues * sizeof(float)];
  size_t scratch_bytes_;  // of a thread
  AlignedBuffer scratch_;
};

}  // namespace qsparse

#endif  // QSPARSE_SOFTMAX_SOFTMAX_H_
