// Runs a layer on every kernel that takes it and compares with the reference.
#ifndef QSPARSE_FUZZ_CHECK_LAYER_H_
#define QSPARSE_FUZZ_CHECK_LAYER_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "guarded_buffer.h"
#include "layer_case.h"
#include "plan/kernel_choice.h"

namespace qsparse::fuzz {

class LayerChecker {
 public:
  // Without any ISA: on all that this CPU supports.
  explicit LayerChecker(const std::vector<Isa>& isas) : isas_(isas) {}

  // Empty, or what is wrong with the first kernel that has something wrong.
  std::string Check(LayerCase c, uint64_t seed);

  // Per kernel, as "isa kernel".
  const std::map<std::string, int64_t>& runs() const { return runs_; }
  // Output bytes compared, and how many of them no clamp decided.
  int64_t outputs() const { return outputs_; }
  int64_t inside() const { return inside_; }

 private:
  bool Runs(Isa isa) const;
  std::string CheckKernel(const LayerCase& c, const KernelChoice& choice, bool at_end);
  std::string CheckPacked(const LayerCase& c, const KernelChoice& choice, bool dense,
                          ThreadPool* pool, bool at_end);

  std::vector<Isa> isas_;
  ThreadPool one_{1}, two_{2};
  GuardedBuffer weights_, input_, output_;
  std::vector<std::vector<int8_t>> expected_;  // one per input
  std::map<std::string, int64_t> runs_;
  int64_t outputs_ = 0;
  int64_t inside_ = 0;
};

}  // namespace qsparse::fuzz

#endif  // QSPARSE_FUZZ_CHECK_LAYER_H_
