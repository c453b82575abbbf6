#include "blocks/kernel_table.h"

namespace qsparse {

const Kernel& ChainKernel(Isa isa) {
  for (const Kernel* kernel : kPlaneKernels) {
    if (kernel->isa == isa && kernel->max_rows == 0) return *kernel;
  }
  return kPortableKernel;
}

}  // namespace qsparse
