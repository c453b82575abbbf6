// What stands in for the nodes of a claimed group, ready to run on rows.
#ifndef QSPARSE_LAYERS_RUNNABLE_H_
#define QSPARSE_LAYERS_RUNNABLE_H_

#include <cstddef>
#include <cstdint>

namespace qsparse {

class Runnable {
 public:
  virtual ~Runnable() = default;

  // Rows of every input and output. Allocates nothing. One call at a time per object.
  virtual void Run(const int8_t* const* inputs, int8_t* const* outputs) = 0;

  virtual size_t input_bytes(size_t i) const = 0;
  virtual size_t output_bytes(size_t i) const = 0;
};

}  // namespace qsparse

#endif  // QSPARSE_LAYERS_RUNNABLE_H_
