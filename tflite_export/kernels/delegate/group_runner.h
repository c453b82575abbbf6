// The way to run the nodes of a claimed group with the shapes they have now.
#ifndef QSPARSE_DELEGATE_GROUP_RUNNER_H_
#define QSPARSE_DELEGATE_GROUP_RUNNER_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "base/thread_pool.h"
#include "graph/chain_node.h"
#include "layers/runnable.h"
#include "plan/options.h"

namespace qsparse {

// A layer by itself on whatever kernel is best, several nodes as a chain; part of the
// batch after part where the whole is too large; else node by node in plain loops. What
// was claimed so runs with every shape the runtime would run. Null where memory ends.
std::unique_ptr<Runnable> MakeRunner(const std::vector<ChainNode>& nodes,
                                     const std::vector<int32_t>& inputs,
                                     const std::vector<int32_t>& outputs,
                                     const Options& options, ThreadPool* pool);

}  // namespace qsparse

#endif  // QSPARSE_DELEGATE_GROUP_RUNNER_H_
