#include "regions/row_math.h"

namespace qsparse {

#if defined(__x86_64__)
RowFunction GetAvx512RowFunction();
RowFunction GetAvx2RowFunction();
#endif

RowFunction GetRowFunction(XnnpackIsa isa) {
  switch (isa) {
#define QSPARSE_ROW_MATH(isa, get) \
  case XnnpackIsa::isa:            \
    return get();
#include "regions/row_maths.inc"
#undef QSPARSE_ROW_MATH
    default:
      return nullptr;
  }
}

}  // namespace qsparse
