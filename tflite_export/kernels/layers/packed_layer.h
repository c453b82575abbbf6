// A layer made ready to run on one kernel.
#ifndef QSPARSE_LAYERS_PACKED_LAYER_H_
#define QSPARSE_LAYERS_PACKED_LAYER_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/thread_pool.h"
#include "graph/layer.h"
#include "plan/kernel_choice.h"

namespace qsparse {

class PackedLayer {
 public:
  virtual ~PackedLayer() = default;

  // Allocates nothing. One call at a time per object.
  virtual void Run(const int8_t* input, int8_t* output) = 0;

  virtual size_t input_bytes() const = 0;
  virtual size_t output_bytes() const = 0;
};

// Whether the layer needs no more memory than any real one; packs nothing.
bool FitsMemory(const Layer& layer, const KernelChoice& choice, ThreadPool* pool);

// Null when it does not fit. `dense` treats every weight as present.
std::unique_ptr<PackedLayer> Pack(const Layer& layer, const KernelChoice& choice,
                                  bool dense, ThreadPool* pool);

}  // namespace qsparse

#endif  // QSPARSE_LAYERS_PACKED_LAYER_H_
