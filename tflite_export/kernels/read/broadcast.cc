#include "read/broadcast.h"

#include <cstddef>
#include <utility>

namespace qsparse {

bool Broadcast(const std::vector<int32_t>& a, const std::vector<int32_t>& b,
               std::vector<int32_t>* result) {
  const std::vector<int32_t>& longer = a.size() < b.size() ? b : a;
  const std::vector<int32_t>& shorter = a.size() < b.size() ? a : b;
  *result = longer;
  const size_t missing = longer.size() - shorter.size();
  for (size_t i = 0; i < shorter.size(); ++i) {
    int32_t& dim = (*result)[missing + i];
    if (dim == 1) {
      dim = shorter[i];
    } else if (shorter[i] != 1 && shorter[i] != dim) {
      return false;
    }
  }
  return true;
}

std::vector<int32_t> Repeat(const int32_t* dims, const std::vector<int32_t>& result) {
  std::vector<int32_t> items = {0};
  for (size_t axis = 0; axis < result.size(); ++axis) {
    std::vector<int32_t> more;
    more.reserve(items.size() * static_cast<size_t>(result[axis]));
    for (const int32_t item : items) {
      for (int32_t i = 0; i < result[axis]; ++i) {
        more.push_back(item * dims[axis] + (dims[axis] == 1 ? 0 : i));
      }
    }
    items = std::move(more);
  }
  return items;
}

}  // namespace qsparse
