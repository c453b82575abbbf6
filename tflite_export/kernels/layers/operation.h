// An operator that works on rows of activations alone, ready to run.
#ifndef QSPARSE_LAYERS_OPERATION_H_
#define QSPARSE_LAYERS_OPERATION_H_

#include <cstddef>
#include <cstdint>

namespace qsparse {

class Operation {
 public:
  virtual ~Operation() = default;
  // Allocates nothing. One call at a time per object.
  virtual void Run(const int8_t* const* inputs, int8_t* output) = 0;
  virtual size_t input_bytes(int input) const = 0;
  virtual size_t output_bytes() const = 0;
};

}  // namespace qsparse

#endif  // QSPARSE_LAYERS_OPERATION_H_
