#include "plan/region_plan.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "plan/levels.h"
#include "regions/fuse.h"

namespace qsparse {
namespace {

// Cycles. XNNPACK's: of a node, and of a value that is read or written, which by then is
// in the second-level cache. Ours: of a call, which also parts what XNNPACK would run in
// one, of a node in each row, and of a value of a row. Measured on Zen 4.
constexpr double kXnnpackNode = 400, kXnnpackValue = 0.125;
constexpr double kCall = 6000, kNode = 16, kValue = 0.25;

double Values(const RowNode& node) {
  double values = static_cast<double>(node.output.rows) * node.output.columns;
  for (int k = 0; k < node.input_count; ++k) {
    values += static_cast<double>(node.inputs[k].rows) * node.inputs[k].columns;
  }
  return values;
}

double Gain(const std::vector<RowReading>& readings, const std::vector<size_t>& members,
            const std::set<int32_t>& read_outside) {
  double xnnpack = 0, ours = kCall;
  std::vector<RowNode> nodes;
  std::vector<int32_t> leave;
  for (const size_t i : members) {
    const RowNode& node = readings[i].read;
    xnnpack += kXnnpackNode + kXnnpackValue * Values(node);
    nodes.push_back(node);
    if (read_outside.count(node.output.index) > 0) leave.push_back(node.output.index);
  }
  for (const RowNode& node : Fuse(nodes, leave)) {
    ours += static_cast<double>(node.rows()) * (kNode + kValue * node.columns());
  }
  return xnnpack / ours;
}

}  // namespace

std::vector<PlannedRegion> FindRegions(litert::Context* context,
                                       const litert::IntArray& execution_plan,
                                       const std::vector<RowReading>& readings,
                                       const std::set<int32_t>& outputs,
                                       double min_gain) {
  std::set<int32_t> ours;
  std::map<int32_t, size_t> producers;  // of tensors
  for (size_t i = 0; i < readings.size(); ++i) {
    ours.insert(readings[i].node);
    producers[readings[i].read.output.index] = i;
  }
  Surroundings surroundings = FindLevels(context, execution_plan, ours);
  const std::map<int32_t, int32_t>& levels = surroundings.levels;
  std::set<int32_t>& read_outside = surroundings.read_by_others;
  read_outside.insert(outputs.begin(), outputs.end());
  const auto level = [&](size_t i) {
    const auto found = levels.find(readings[i].node);
    return found == levels.end() ? -1 : found->second;
  };
  std::vector<size_t> parent(readings.size());
  std::iota(parent.begin(), parent.end(), size_t{0});
  const auto root = [&parent](size_t i) {
    while (parent[i] != i) i = parent[i] = parent[parent[i]];
    return i;
  };
  for (size_t i = 0; i < readings.size(); ++i) {
    const RowNode& node = readings[i].read;
    for (int k = 0; k < node.input_count; ++k) {
      const auto from = producers.find(node.inputs[k].index);
      if (from == producers.end()) continue;
      if (level(from->second) != level(i) ||
          readings[from->second].read.rows() != node.rows()) {
        read_outside.insert(node.inputs[k].index);
        continue;
      }
      parent[root(i)] = root(from->second);
    }
  }
  std::map<size_t, std::vector<size_t>> together;
  for (size_t i = 0; i < readings.size(); ++i) together[root(i)].push_back(i);
  std::vector<PlannedRegion> regions;
  for (auto& [first, members] : together) {
    const double gain = Gain(readings, members, read_outside);
    if (gain >= min_gain) regions.push_back({std::move(members), gain});
  }
  return regions;
}

}  // namespace qsparse
