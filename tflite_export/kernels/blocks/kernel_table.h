// Every plane kernel of this build.
#ifndef QSPARSE_BLOCKS_KERNEL_TABLE_H_
#define QSPARSE_BLOCKS_KERNEL_TABLE_H_

#include "base/isa.h"
#include "blocks/kernel.h"

namespace qsparse {

#define QSPARSE_KERNEL(variable) extern const Kernel variable;
#include "blocks/kernels.inc"
#undef QSPARSE_KERNEL

// Best ISA first and, within one, the kernel for few positions first.
inline constexpr const Kernel* kPlaneKernels[] = {
#define QSPARSE_KERNEL(variable) &variable,
#include "blocks/kernels.inc"
#undef QSPARSE_KERNEL
};

// The plane kernel that takes any layer: packs and unpacks for chains.
const Kernel& ChainKernel(Isa isa);

}  // namespace qsparse

#endif  // QSPARSE_BLOCKS_KERNEL_TABLE_H_
