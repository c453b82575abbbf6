#include "delegate.h"

#include <algorithm>
#include <cstdio>
#include <map>

#include "abi_check.h"
#include "cpu.h"
#include "operation_kernel.h"
#include "planner.h"
#include "subgraph_kernel.h"

namespace qsparse {
namespace {

using litert::Context;
using litert::IntArray;
using litert::Status;

// A chain is claimed in one call, everything else node by node: what lies between two
// calls stays in the runtime's arena.
Status ClaimGroup(Context* context, litert::Delegate* delegate,
                  const std::vector<const Decision*>& group) {
  std::vector<int32_t> array = {static_cast<int32_t>(group.size())};
  for (const Decision* d : group) array.push_back(d->node);
  const bool is_operation = IsOperation(group[0]->op);
  return context->replace_node_subsets_with_delegate_kernels(
      context,
      is_operation ? OperationKernelRegistration() : SubgraphKernelRegistration(),
      reinterpret_cast<const IntArray*>(array.data()), delegate);
}

}  // namespace

SparseDelegate::SparseDelegate(const Options& options) : options_(options) {
  abi_.data = this;
  abi_.prepare = &SparseDelegate::Prepare;
  // Outputs are resized by the kernels themselves, so dynamic graphs work.
  abi_.flags = litert::kAllowDynamicTensors;
}

Status SparseDelegate::Prepare(Context* context, litert::Delegate* delegate) {
  return static_cast<SparseDelegate*>(delegate->data)->Claim(context);
}

void SparseDelegate::StartPool(const Context& context) {
  // Kernels of another interpreter may hold the pool that is there.
  if (pool_ != nullptr) return;
  int32_t threads = options_.threads;
  if (threads == 0) threads = std::clamp(context.recommended_num_threads, 1, 256);
  pool_ = std::make_unique<ThreadPool>(threads);
}

Status SparseDelegate::Claim(Context* context) {
  IntArray* plan = nullptr;
  const std::string mismatch = CheckAbi(context, &plan);
  if (!mismatch.empty()) {
    std::fprintf(stderr,
                 "qsparse: runtime not understood (%s); leaving the model alone\n",
                 mismatch.c_str());
    return litert::kOk;
  }
  StartPool(*context);

  // Claiming nodes replaces the plan, so everything is decided first.
  const std::vector<Decision> decisions =
      Planner(context, options_, pool_.get()).Decide(*plan);
  if (options_.only_plan) {
    Report(*context, decisions);
    return litert::kOk;
  }
  std::map<int32_t, std::vector<const Decision*>> groups;
  for (const Decision& d : decisions) {
    if (d.claimed) groups[d.group].push_back(&d);
  }
  for (const auto& [number, group] : groups) {
    const Status status = ClaimGroup(context, &abi_, group);
    if (status != litert::kOk) return status;
  }
  Report(*context, decisions);
  return litert::kOk;
}

void SparseDelegate::Report(const Context& context,
                            const std::vector<Decision>& decisions) {
  // The runtime asks once per subgraph, the main one first: bodies of loops and
  // branches number their nodes anew and must not wipe out its plan.
  if (reported_ != nullptr && reported_ != &context) return;
  reported_ = &context;
  if (!options_.plan_path.empty() && !WritePlan(options_.plan_path, decisions)) {
    std::fprintf(stderr, "qsparse: cannot write the plan to %s\n",
                 options_.plan_path.c_str());
  }
  if (options_.log >= 1) {
    const auto layers = std::count_if(decisions.begin(), decisions.end(),
                      [](const Decision& d) { return d.is_layer(); });
    const auto claimed =
        std::count_if(decisions.begin(), decisions.end(),
                      [](const Decision& d) { return d.is_layer() && d.claimed; });
    std::fprintf(stderr, "qsparse: %td of %td layers, %s, %d threads\n", claimed, layers,
                 IsaName(options_.isa), pool_->threads());
  }
  if (options_.log < 2) return;
  for (const Decision& d : decisions) {
    std::fprintf(stderr, "qsparse: node %d %s %s, gain %.2f: %s\n", d.node,
                 OpName(d.op), d.pattern.name.c_str(),
                 d.gain, d.reason.c_str());
  }
}

}  // namespace qsparse
