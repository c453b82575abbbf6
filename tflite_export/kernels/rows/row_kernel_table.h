// Every row kernel of this build.
#ifndef QSPARSE_ROWS_ROW_KERNEL_TABLE_H_
#define QSPARSE_ROWS_ROW_KERNEL_TABLE_H_

#include "rows/row_kernel.h"

namespace qsparse {

#define QSPARSE_ROW_KERNEL(variable) extern const RowKernel variable;
#include "rows/row_kernels.inc"
#undef QSPARSE_ROW_KERNEL

inline constexpr const RowKernel* kRowKernels[] = {
#define QSPARSE_ROW_KERNEL(variable) &variable,
#include "rows/row_kernels.inc"
#undef QSPARSE_ROW_KERNEL
};

}  // namespace qsparse

#endif  // QSPARSE_ROWS_ROW_KERNEL_TABLE_H_
