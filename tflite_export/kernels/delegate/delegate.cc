#include "delegate/delegate.h"

#include <algorithm>
#include <cstdio>
#include <map>

#include "base/cpu.h"
#include "delegate/operation_kernel.h"
#include "delegate/subgraph_kernel.h"
#include "delegate/unread_kernel.h"
#include "litert/abi_check.h"
#include "plan/planner.h"

namespace qsparse {
namespace {

using litert::Context;
using litert::IntArray;
using litert::Status;

Status Replace(Context* context, litert::Delegate* delegate,
               const litert::Registration& registration, std::vector<int32_t> nodes) {
  nodes.insert(nodes.begin(), static_cast<int32_t>(nodes.size()));
  return context->replace_node_subsets_with_delegate_kernels(
      context, registration, reinterpret_cast<const IntArray*>(nodes.data()), delegate);
}

}  // namespace

SparseDelegate::SparseDelegate(const Options& wanted) : SharedState{wanted, nullptr} {
  abi_.data = static_cast<SharedState*>(this);
  abi_.prepare = &SparseDelegate::Prepare;
  // Outputs are resized by the kernels themselves, so dynamic graphs work.
  abi_.flags = litert::kAllowDynamicTensors;
}

SparseDelegate* SparseDelegate::Of(litert::Delegate* abi) {
  return static_cast<SparseDelegate*>(static_cast<SharedState*>(abi->data));
}

Status SparseDelegate::Prepare(Context* context, litert::Delegate* delegate) {
  return Of(delegate)->Claim(context);
}

void SparseDelegate::StartPool(const Context& context) {
  // Kernels of another interpreter may hold the pool that is there.
  if (pool != nullptr) return;
  int32_t threads = options.threads;
  if (threads == 0) threads = std::clamp(context.recommended_num_threads, 1, 256);
  pool = std::make_unique<ThreadPool>(threads);
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
  Planner planner(context, options, pool.get());
  const std::vector<Decision> decisions = planner.Decide(*plan);
  if (options.only_plan) {
    Report(*context, decisions);
    return litert::kOk;
  }
  struct Group {
    bool is_operation = false;
    std::vector<int32_t> nodes;
  };
  std::map<int32_t, Group> groups;
  for (const Decision& d : decisions) {
    if (!d.claimed) continue;
    groups[d.group].is_operation = IsOperation(d.op);
    groups[d.group].nodes.push_back(d.node);
  }
  if (!groups.empty() && !planner.dead_ends().empty()) {
    const Status status =
        Replace(context, &abi_, UnreadKernelRegistration(), planner.dead_ends());
    if (status != litert::kOk) return status;
  }
  // A chain or a region is claimed in one call, everything else node by node: what lies between two
  // calls stays in the runtime's arena.
  for (const auto& [number, group] : groups) {
    const Status status = Replace(context, &abi_,
                                  group.is_operation ? OperationKernelRegistration()
                                                     : SubgraphKernelRegistration(),
                                  group.nodes);
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
  if (!options.plan_path.empty() && !WritePlan(options.plan_path, decisions)) {
    std::fprintf(stderr, "qsparse: cannot write the plan to %s\n",
                 options.plan_path.c_str());
  }
  if (options.log >= 1) {
    const auto layers = std::count_if(decisions.begin(), decisions.end(),
                      [](const Decision& d) { return d.is_layer(); });
    const auto claimed =
        std::count_if(decisions.begin(), decisions.end(),
                      [](const Decision& d) { return d.is_layer() && d.claimed; });
    std::fprintf(stderr, "qsparse: %td of %td layers, %s, %d threads\n", claimed, layers,
                 IsaName(options.isa), pool->threads());
  }
  if (options.log < 2) return;
  for (const Decision& d : decisions) {
    std::fprintf(stderr, "qsparse: node %d %s %s, gain %.2f: %s\n", d.node,
                 OpName(d.op), d.pattern.name.c_str(),
                 d.gain, d.reason.c_str());
  }
}

}  // namespace qsparse
