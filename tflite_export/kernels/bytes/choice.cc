#include "bytes/choice.h"

#include <algorithm>
#include <cstring>

namespace qsparse {
namespace {

// Without a branch, so that the compiler takes many at once.
void Choose(const int8_t* __restrict mask, const int8_t* __restrict values,
            int8_t otherwise, int32_t columns, int8_t* __restrict to) {
  for (int32_t i = 0; i < columns; ++i) {
    const auto kept = static_cast<int8_t>(-static_cast<int8_t>(mask[i] != 0));
    to[i] = static_cast<int8_t>((values[i] & kept) | (otherwise & ~kept));
  }
}

}  // namespace

void Choice::Run(const int8_t* const* inputs, int8_t* output) {
  constexpr int32_t kTaskRows = 128;
  const int32_t columns = shape_.columns;
  const int8_t otherwise = shape_.otherwise;
  const auto rows = static_cast<int32_t>(shape_.mask_rows.size());
  pool_->Run((rows + kTaskRows - 1) / kTaskRows, [&](int32_t task, int32_t) {
    const int32_t last = std::min(rows, (task + 1) * kTaskRows);
    for (int32_t row = task * kTaskRows; row < last; ++row) {
      const size_t at = static_cast<size_t>(row) * static_cast<size_t>(columns);
      const int32_t from = shape_.value_rows.empty() ? row : shape_.value_rows[row];
      const int8_t* const values =
          inputs[0] + static_cast<size_t>(from) * static_cast<size_t>(columns);
      const int8_t* const mask =
          inputs[1] + static_cast<size_t>(shape_.mask_rows[row]) *
                          static_cast<size_t>(shape_.mask_columns);
      int8_t* const to = output + at;
      if (shape_.mask_columns == columns) {
        Choose(mask, values, otherwise, columns, to);
      } else if (*mask) {
        std::memcpy(to, values, static_cast<size_t>(columns));
      } else {
        std::memset(to, otherwise, static_cast<size_t>(columns));
      }
    }
  });
}

}  // namespace qsparse
