#include "read/graph_check.h"

#include <algorithm>

namespace qsparse {
namespace {

using litert::Context;
using litert::IntArray;
using litert::Node;

// The node, or null where the runtime does not tell.
const Node* GetNode(Context* context, int32_t index) {
  Node* node = nullptr;
  litert::Registration* registration = nullptr;
  if (context->get_node_and_registration(context, index, &node, &registration) !=
          litert::kOk ||
      node == nullptr || node->inputs == nullptr || node->outputs == nullptr) {
    return nullptr;
  }
  return node;
}

void Insert(const IntArray& tensors, std::set<int32_t>* set) {
  set->insert(tensors.data(), tensors.data() + tensors.size);
}

}  // namespace

bool IsWrittenOnce(Context* context, const IntArray& execution_plan) {
  std::set<int32_t> seen;  // read, written or constant
  for (size_t i = 0; i < context->tensors_size; ++i) {
    if (context->tensors[i].allocation_type == litert::kMmapRo) {
      seen.insert(static_cast<int32_t>(i));
    }
  }
  for (int32_t i = 0; i < execution_plan.size; ++i) {
    const Node* const node = GetNode(context, execution_plan.data()[i]);
    if (node == nullptr) continue;
    Insert(*node->inputs, &seen);
    for (int32_t k = 0; k < node->outputs->size; ++k) {
      if (!seen.insert(node->outputs->data()[k]).second) return false;
    }
  }
  return true;
}

std::set<int32_t> FindOutputs(Context* context, const IntArray& execution_plan) {
  litert::DelegateParams* partitions = nullptr;
  int32_t count = 0;
  std::set<int32_t> outputs;
  if (context->preview_delegate_partitioning(context, &execution_plan, &partitions,
                                             &count) != litert::kOk) {
    return outputs;
  }
  for (int32_t i = 0; i < count; ++i) {
    if (partitions[i].output_tensors != nullptr) {
      Insert(*partitions[i].output_tensors, &outputs);
    }
  }
  return outputs;
}

std::vector<int32_t> FindDeadEnds(Context* context, const IntArray& execution_plan,
                                  std::set<int32_t> needed) {
  std::vector<int32_t> dead;
  for (int32_t i = execution_plan.size; i-- > 0;) {
    const int32_t index = execution_plan.data()[i];
    const Node* const node = GetNode(context, index);
    if (node == nullptr) continue;
    const int32_t* const outputs = node->outputs->data();
    const bool is_needed =
        node->might_have_side_effect ||
        std::any_of(outputs, outputs + node->outputs->size,
                    [&](int32_t tensor) { return needed.count(tensor) > 0; });
    if (is_needed) {
      Insert(*node->inputs, &needed);
    } else {
      dead.push_back(index);
    }
  }
  std::reverse(dead.begin(), dead.end());
  return dead;
}

std::set<int32_t> FindSquares(Context* context, const IntArray& execution_plan) {
  std::set<int32_t> squares;
  for (int32_t i = 0; i < execution_plan.size; ++i) {
    Node* node = nullptr;
    litert::Registration* registration = nullptr;
    if (context->get_node_and_registration(context, execution_plan.data()[i], &node,
                                           &registration) != litert::kOk ||
        node == nullptr || registration == nullptr || node->inputs == nullptr ||
        node->outputs == nullptr) {
      continue;
    }
    const IntArray& inputs = *node->inputs;
    const bool is_product = registration->builtin_code == litert::kBuiltinMul &&
                            inputs.size == 2 && inputs.data()[0] == inputs.data()[1];
    if (is_product || registration->builtin_code == litert::kBuiltinSquare) {
      Insert(*node->outputs, &squares);
    }
  }
  return squares;
}

}  // namespace qsparse
