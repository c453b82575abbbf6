// Reads the graph and decides which nodes to take, with which kernels, in which chains.
#ifndef QSPARSE_PLAN_PLANNER_H_
#define QSPARSE_PLAN_PLANNER_H_

#include <cstdint>
#include <set>
#include <vector>

#include "base/thread_pool.h"
#include "chain/chain.h"
#include "litert/litert_abi.h"
#include "plan/grouping.h"
#include "plan/options.h"
#include "plan/plan.h"
#include "plan/region_plan.h"
#include "read/node_reader.h"

namespace qsparse {

class Planner {
 public:
  Planner(litert::Context* context, const Options& options, ThreadPool* pool)
      : context_(context), options_(options), pool_(pool) {}

  // Every node of `execution_plan` that is of a kind the delegate knows, in order.
  std::vector<Decision> Decide(const litert::IntArray& execution_plan);

  // Nodes that no output depends on: to be taken away from XNNPACK if anything is.
  const std::vector<int32_t>& dead_ends() const { return dead_ends_; }

 private:
  // A node that can be taken, and where it stands among the decisions.
  struct Reading {
    size_t decision = 0;
    ChainNode node;
    Candidate candidate;
  };

  void Read(const litert::Node& node, int32_t index, Op op);
  void ReadLayerNode(const GraphNode& node, Decision* decision);
  void ReadOperationNode(const GraphNode& node, Decision* decision);
  void ReadOtherNode(const GraphNode& node, Decision* decision);
  void ReadRow(const GraphNode& node, Decision* decision);
  void JudgeLayers();
  void JudgeLayer(Reading* reading);
  void FindSurroundings(const litert::IntArray& execution_plan);
  bool AllChainsFit(const Groups& groups);
  void Record(const Groups& groups);
  void RecordRegions(const litert::IntArray& execution_plan, int32_t first_group);

  litert::Context* const context_;
  const Options& options_;
  ThreadPool* const pool_;
  Shapes shapes_;
  std::set<int32_t> outputs_;  // of the subgraph
  std::set<int32_t> squares_;
  std::vector<int32_t> dead_ends_;
  std::vector<Decision> decisions_;
  std::vector<Reading> readings_;
  std::vector<RowReading> row_readings_;
};

}  // namespace qsparse

#endif  // QSPARSE_PLAN_PLANNER_H_
