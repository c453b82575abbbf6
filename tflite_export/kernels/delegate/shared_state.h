// What the kernels of one delegate share.
#ifndef QSPARSE_DELEGATE_SHARED_STATE_H_
#define QSPARSE_DELEGATE_SHARED_STATE_H_

#include <memory>

#include "base/thread_pool.h"
#include "plan/options.h"

namespace qsparse {

// The delegate's data, as the runtime hands it on.
struct SharedState {
  Options options;
  std::unique_ptr<ThreadPool> pool;  // from the first graph on
};

}  // namespace qsparse

#endif  // QSPARSE_DELEGATE_SHARED_STATE_H_
