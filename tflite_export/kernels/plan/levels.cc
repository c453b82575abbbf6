#include "plan/levels.h"

#include <algorithm>

namespace qsparse {

using litert::Context;
using litert::IntArray;
using litert::Node;
using litert::Registration;

Surroundings FindLevels(Context* context, const IntArray& execution_plan,
                        const std::set<int32_t>& ours) {
  struct Origin {
    bool is_ours;
    int32_t level;
  };
  Surroundings found;
  std::map<int32_t, Origin> origins;  // of tensors
  for (int32_t i = 0; i < execution_plan.size; ++i) {
    const int32_t index = execution_plan.data()[i];
    Node* node = nullptr;
    Registration* registration = nullptr;
    if (context->get_node_and_registration(context, index, &node, &registration) !=
            litert::kOk ||
        node == nullptr || node->inputs == nullptr || node->outputs == nullptr) {
      continue;
    }
    Origin origin = {ours.count(index) > 0, 0};
    for (int32_t k = 0; k < node->inputs->size; ++k) {
      const int32_t input = node->inputs->data()[k];
      if (!origin.is_ours) found.read_by_others.insert(input);
      const auto from = origins.find(input);
      if (from == origins.end()) continue;
      const int32_t crossing = from->second.is_ours != origin.is_ours ? 1 : 0;
      origin.level = std::max(origin.level, from->second.level + crossing);
    }
    for (int32_t k = 0; k < node->outputs->size; ++k) {
      origins[node->outputs->data()[k]] = origin;
    }
    if (origin.is_ours) found.levels[index] = origin.level;
  }
  return found;
}

}  // namespace qsparse
