// How often paths through a graph enter and leave some of its nodes.
#ifndef QSPARSE_PLAN_LEVELS_H_
#define QSPARSE_PLAN_LEVELS_H_

#include <cstdint>
#include <map>
#include <set>

#include "litert/litert_abi.h"

namespace qsparse {

struct Surroundings {
  std::map<int32_t, int32_t> levels;  // of `ours`
  std::set<int32_t> read_by_others;   // tensors
};

// Between two of `ours` of one level no path leads through nodes of others.
Surroundings FindLevels(litert::Context* context, const litert::IntArray& execution_plan,
                        const std::set<int32_t>& ours);

}  // namespace qsparse

#endif  // QSPARSE_PLAN_LEVELS_H_
