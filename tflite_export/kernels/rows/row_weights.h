// The nonzeros of a layer in the order a row kernel wants them.
#ifndef QSPARSE_ROWS_ROW_WEIGHTS_H_
#define QSPARSE_ROWS_ROW_WEIGHTS_H_

#include <cstdint>
#include <vector>

#include "graph/layer.h"
#include "rows/row_kernel.h"

namespace qsparse {

// Entries the layer takes; `all` counts zeros like other weights.
int64_t CountEntries(const Layer& layer, const RowKernel& kernel, bool all);

// The lists of RowArgs. Of neighbouring groups with the same offsets (balanced
// patterns) only the first has them: where weights come from far away they count.
struct EntryLists {
  std::vector<uint32_t> list_begin;
  std::vector<int32_t> offsets;
  std::vector<uint32_t> offset_begin;
};

// `packed` has room for all entries. A line of channels is `line_stride` bytes from
// the next, a tap `tap_shift` bytes from the output.
EntryLists PackEntries(const Layer& layer, const RowKernel& kernel, bool all,
                       int64_t line_stride, const std::vector<int32_t>& tap_shift,
                       uint8_t* packed);

}  // namespace qsparse

#endif  // QSPARSE_ROWS_ROW_WEIGHTS_H_
