#include "kernel.h"

namespace qsparse {

#define QSPARSE_KERNEL(isa, name, variable) extern const Kernel variable;
#include "kernels.inc"
#undef QSPARSE_KERNEL

const Kernel& GetKernel(Isa isa) {
#define QSPARSE_KERNEL(row_isa, name, variable) \
  if (isa == Isa::row_isa) return variable;
#include "kernels.inc"
#undef QSPARSE_KERNEL
  return kPortableKernel;
}

}  // namespace qsparse
