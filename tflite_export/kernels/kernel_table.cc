#include "kernel.h"
#include "layer.h"

namespace qsparse {

#define QSPARSE_KERNEL(isa, variable) extern const Kernel variable;
#include "kernels.inc"
#undef QSPARSE_KERNEL

namespace {

// Kernels for few positions know nothing of kernel taps.
bool Takes(const Kernel& kernel, const Layer& layer) {
  return kernel.max_rows == 0 ||
         (layer.taps() == 1 && layer.rows() <= kernel.max_rows);
}

}  // namespace

const Kernel& GetKernel(Isa isa, const Layer& layer) {
#define QSPARSE_KERNEL(row_isa, variable) \
  if (isa == Isa::row_isa && Takes(variable, layer)) return variable;
#include "kernels.inc"
#undef QSPARSE_KERNEL
  return kPortableKernel;
}

}  // namespace qsparse
