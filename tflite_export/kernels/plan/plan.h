// The decision taken for every node, and its JSON form.
#ifndef QSPARSE_PLAN_PLAN_H_
#define QSPARSE_PLAN_PLAN_H_

#include <cstdint>
#include <string>
#include <vector>

#include "graph/op.h"
#include "plan/pattern.h"

namespace qsparse {

struct Decision {
  int32_t node = -1;
  Op op = Op::kConv2d;
  int32_t output_tensor = -1;
  std::vector<int32_t> input_dims;
  std::vector<int32_t> weight_dims;
  std::vector<int32_t> output_dims;
  int64_t macs = 0;
  Pattern pattern;
  std::string kernel;  // empty where nothing was chosen
  std::string isa;
  double gain = 0.0;   // predicted, 0 where the node could not be read
  bool claimed = false;
  int32_t group = -1;  // nodes of one chain share the number
  std::string reason;

  bool is_layer() const { return op == Op::kConv2d || op == Op::kFullyConnected; }
};

// False when the file cannot be written.
bool WritePlan(const std::string& path, const std::vector<Decision>& plan);

}  // namespace qsparse

#endif  // QSPARSE_PLAN_PLAN_H_
