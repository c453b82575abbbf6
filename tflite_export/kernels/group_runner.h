// The way to run the nodes of a claimed group with the shapes they have now.
#ifndef QSPARSE_GROUP_RUNNER_H_
#define QSPARSE_GROUP_RUNNER_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "chain_node.h"
#include "options.h"
#include "runnable.h"
#include "thread_pool.h"

namespace qsparse {

// A layer by itself on whatever kernel is best, several nodes as a chain; part of the
// batch after part where the whole is too large; else node by node in plain loops. What
// was claimed so runs with every shape the runtime would run. Null where memory ends.
std::unique_ptr<Runnable> MakeRunner(const std::vector<ChainNode>& nodes,
                                     const std::vector<int32_t>& inputs,
                                     const std::vector<int32_t>& outputs,
                                     const Options& options, ThreadPool* pool);

}  // namespace qsparse

#endif  // QSPARSE_GROUP_RUNNER_H_
