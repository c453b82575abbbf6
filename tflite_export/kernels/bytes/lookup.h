// A function of one value, looked up.
#ifndef QSPARSE_BYTES_LOOKUP_H_
#define QSPARSE_BYTES_LOOKUP_H_

#include "base/cpu.h"
#include "base/thread_pool.h"
#include "graph/operation_shape.h"
#include "layers/operation.h"

namespace qsparse {

// `table` holds what becomes of -128, of -127, and so on.
using LookupFunction = void (*)(const int8_t* table, const int8_t* input, int64_t count,
                                int8_t* output);

// The instructions that look up 64 values at once, or one after the other.
LookupFunction GetLookup(const Cpu& cpu, Isa isa);

class Lookup final : public Operation {
 public:
  Lookup(const LookupShape& shape, LookupFunction function, ThreadPool* pool)
      : shape_(shape), function_(function), pool_(pool) {}

  void Run(const int8_t* const* inputs, int8_t* output) override;
  size_t input_bytes(int) const override { return output_bytes(); }
  size_t output_bytes() const override { return static_cast<size_t>(shape_.values); }

 private:
  const LookupShape shape_;
  const LookupFunction function_;
  ThreadPool* const pool_;
};

}  // namespace qsparse

#endif  // QSPARSE_BYTES_LOOKUP_H_
