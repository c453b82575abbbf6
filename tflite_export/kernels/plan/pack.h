// Makes a layer ready to run on the kernel that was chosen.
#ifndef QSPARSE_PLAN_PACK_H_
#define QSPARSE_PLAN_PACK_H_

#include <memory>

#include "base/thread_pool.h"
#include "graph/layer.h"
#include "layers/packed_layer.h"
#include "plan/kernel_choice.h"

namespace qsparse {

// Whether the layer needs no more memory than any real one; packs nothing.
bool FitsMemory(const Layer& layer, const KernelChoice& choice, ThreadPool* pool);

// Null when it does not fit. `dense` treats every weight as present.
std::unique_ptr<PackedLayer> Pack(const Layer& layer, const KernelChoice& choice,
                                  bool dense, ThreadPool* pool);

}  // namespace qsparse

#endif  // QSPARSE_PLAN_PACK_H_
