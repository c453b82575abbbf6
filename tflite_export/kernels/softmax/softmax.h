// Softmax of int8 rows, equal to LiteRT's: exponentials from a table, summed in order.
#ifndef QSPARSE_SOFTMAX_SOFTMAX_H_
#define QSPARSE_SOFTMAX_SOFTMAX_H_

#include <memory>

#include "base/aligned_buffer.h"
#include "base/thread_pool.h"
#include "blocks/kernel.h"
#include "graph/operation_shape.h"
#include "layers/operation.h"

namespace qsparse {

// Results are 256ths, and the smallest of them is -128.
inline constexpr float kSoftmaxScale = 1.0f / 256.0f;
inline constexpr int32_t kSoftmaxZeroPoint = -128;

inline constexpr int32_t kSoftmaxValues = 256;

struct SoftmaxArgs {
  const float* table;  // exponentials of -255 to 0 steps
  const int8_t* input;
  int8_t* output;
  int32_t rows;
  int32_t columns;
  float* scratch;  // kSoftmaxRows rows
};

inline constexpr int32_t kSoftmaxRows = 4;

using SoftmaxFunction = void (*)(const SoftmaxArgs& args);

class Softmax : public Operation {
 public:
  // Null when the buffers would be too large.
  static std::unique_ptr<Operation> Create(const SoftmaxShape& shape, Isa isa,
                                           ThreadPool* pool);

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
  size_t scratch_bytes_;  // of a thread
  AlignedBuffer scratch_;
};

}  // namespace qsparse

#endif  // QSPARSE_SOFTMAX_SOFTMAX_H_
