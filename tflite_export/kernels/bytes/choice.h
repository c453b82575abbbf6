// Values where a mask is true, and one value elsewhere.
#ifndef QSPARSE_BYTES_CHOICE_H_
#define QSPARSE_BYTES_CHOICE_H_

#include <utility>

#include "base/thread_pool.h"
#include "graph/operation_shape.h"
#include "layers/operation.h"

namespace qsparse {

class Choice final : public Operation {
 public:
  Choice(ChoiceShape shape, ThreadPool* pool) : shape_(std::move(shape)), pool_(pool) {}

  void Run(const int8_t* const* inputs, int8_t* output) override;
  size_t input_bytes(int input) const override {
    return static_cast<size_t>(input == 0 ? shape_.value_bytes : shape_.mask_bytes);
  }
  size_t output_bytes() const override { return static_cast<size_t>(shape_.values()); }

 private:
  const ChoiceShape shape_;
  ThreadPool* const pool_;
};

}  // namespace qsparse

#endif  // QSPARSE_BYTES_CHOICE_H_
