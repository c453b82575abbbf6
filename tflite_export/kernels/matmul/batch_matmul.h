// Products of pairs of int8 matrices, both of them activations.
//
// Equal to XNNPACK's, and to the kernel that LiteRT runs where XNNPACK does not take the
// operator.
#ifndef QSPARSE_MATMUL_BATCH_MATMUL_H_
#define QSPARSE_MATMUL_BATCH_MATMUL_H_

#include <memory>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/thread_pool.h"
#include "graph/operation_shape.h"
#include "layers/operation.h"
#include "matmul/matmul_kernel.h"

namespace qsparse {

class BatchMatmul : public Operation {
 public:
  // Null when the buffers would be too large.
  static std::unique_ptr<Operation> Create(const MatmulShape& shape, Isa isa,
                                           ThreadPool* pool);
  static bool FitsMemory(const MatmulShape& shape, Isa isa, const ThreadPool& pool);

  void Run(const int8_t* const* inputs, int8_t* output) override;
  size_t input_bytes(int input) const override;
  size_t output_bytes() const override;

 private:
  struct Buffers {
    AlignedBuffer left, right, left_bias, right_bias;
  };
  // Bytes of one thread's buffers.
  struct Sizes {
    size_t left, right, left_bias, right_bias;
  };

  BatchMatmul(const MatmulShape& shape, Isa isa, ThreadPool* pool);

  Sizes SizesOfBuffers() const;
  bool Allocate();
  void RunPart(const int8_t* left, const int8_t* right, int32_t first_row, int32_t rows,
               const Buffers& buffers, int8_t* output) const;

  const MatmulShape shape_;
  const MatmulKernel& kernel_;
  ThreadPool* const pool_;
  int32_t part_rows_;  // of a task
  std::vector<Buffers> buffers_;
};

}  // namespace qsparse

#endif  // QSPARSE_MATMUL_BATCH_MATMUL_H_
