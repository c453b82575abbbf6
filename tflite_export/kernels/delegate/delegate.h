// The delegate object: decides once per graph, then owns what the kernels share.
#ifndef QSPARSE_DELEGATE_DELEGATE_H_
#define QSPARSE_DELEGATE_DELEGATE_H_

#include <memory>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "litert/litert_abi.h"
#include "plan/options.h"
#include "plan/plan.h"

namespace qsparse {

class SparseDelegate {
 public:
  explicit SparseDelegate(const Options& options);

  litert::Delegate* abi() { return &abi_; }
  const Options& options() const { return options_; }
  ThreadPool* pool() const { return pool_.get(); }

 private:
  static litert::Status Prepare(litert::Context* context, litert::Delegate* delegate);
  litert::Status Claim(litert::Context* context);
  void StartPool(const litert::Context& context);
  void Report(const litert::Context& context, const std::vector<Decision>& decisions);

  litert::Delegate abi_ = {};
  Options options_;
  std::unique_ptr<ThreadPool> pool_;
  const litert::Context* reported_ = nullptr;  // subgraph whose plan is told
};

}  // namespace qsparse

#endif  // QSPARSE_DELEGATE_DELEGATE_H_
