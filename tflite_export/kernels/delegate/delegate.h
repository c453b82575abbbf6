// The delegate object: decides once per graph, and owns what the kernels share.
#ifndef QSPARSE_DELEGATE_DELEGATE_H_
#define QSPARSE_DELEGATE_DELEGATE_H_

#include <string>
#include <vector>

#include "delegate/shared_state.h"
#include "litert/litert_abi.h"
#include "plan/options.h"
#include "plan/plan.h"

namespace qsparse {

class SparseDelegate : private SharedState {
 public:
  explicit SparseDelegate(const Options& wanted);

  litert::Delegate* abi() { return &abi_; }
  // The object that handed out this `abi()`.
  static SparseDelegate* Of(litert::Delegate* abi);

 private:
  static litert::Status Prepare(litert::Context* context, litert::Delegate* delegate);
  litert::Status Claim(litert::Context* context);
  void StartPool(const litert::Context& context);
  void Report(const litert::Context& context, const std::vector<Decision>& decisions);

  litert::Delegate abi_ = {};
  const litert::Context* reported_ = nullptr;  // subgraph whose plan is told
};

}  // namespace qsparse

#endif  // QSPARSE_DELEGATE_DELEGATE_H_
