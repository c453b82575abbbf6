// Which nodes to take, and which of them together as one chain.
#ifndef QSPARSE_PLAN_GROUPING_H_
#define QSPARSE_PLAN_GROUPING_H_

#include <cstdint>
#include <vector>

namespace qsparse {

// What is known of a node that could be taken. Times are those of cost_model.h.
struct Candidate {
  int32_t inputs[2] = {-1, -1};  // tensors; the second only for additions
  int32_t output = -1;
  int32_t channels[2] = {0, 0};  // of the input and of the output, as the node sees them
  double call = 0;               // once per group, ours or XNNPACK's; in none of these:
  double xnnpack = 0;
  double compute = 0;            // ours, between planes
  double pack = 0;               // of one input
  double unpack = 0;             // of the output
  double alone = 0;              // ours, by itself, on whatever kernel is best; 0: cannot
  bool in_chain = true;          // false: only ever by itself
  int32_t level = 0;             // how often paths to it enter and leave candidates
  bool output_leaves = false;    // read by a node that is no candidate, or an output
};

struct Groups {
  std::vector<int32_t> of;     // group of each candidate, negative: left to XNNPACK
  std::vector<double> gain;    // predicted, per group
};

// A group is taken where it is predicted to gain at least `min_gain`; zero takes all.
Groups FindGroups(const std::vector<Candidate>& candidates, double min_gain);

}  // namespace qsparse

#endif  // QSPARSE_PLAN_GROUPING_H_
