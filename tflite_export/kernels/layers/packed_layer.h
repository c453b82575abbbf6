// A layer made ready to run on one kernel.
#ifndef QSPARSE_LAYERS_PACKED_LAYER_H_
#define QSPARSE_LAYERS_PACKED_LAYER_H_

#include <cstddef>
#include <cstdint>

namespace qsparse {

class PackedLayer {
 public:
  virtual ~PackedLayer() = default;

  // Allocates nothing. One call at a time per object.
  virtual void Run(const int8_t* input, int8_t* output) = 0;

  virtual size_t input_bytes() const = 0;
  virtual size_t output_bytes() const = 0;
};

}  // namespace qsparse

#endif  // QSPARSE_LAYERS_PACKED_LAYER_H_
