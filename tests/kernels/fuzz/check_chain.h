// Runs a chain on every ISA and compares its outputs with the reference.
#ifndef QSPARSE_FUZZ_CHECK_CHAIN_H_
#define QSPARSE_FUZZ_CHECK_CHAIN_H_

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "chain_case.h"
#include "guarded_buffer.h"

namespace qsparse::fuzz {

class ChainChecker {
 public:
  // Without any ISA: on all that this CPU supports.
  explicit ChainChecker(const std::vector<Isa>& isas) : isas_(isas) {}

  // Empty, or what is wrong with the first ISA that has something wrong.
  std::string Check(const ChainCase& c, uint64_t seed);

  // Per ISA, as "isa chain".
  const std::map<std::string, int64_t>& runs() const { return runs_; }

 private:
  std::vector<Isa> IsasOf() const;
  std::string CheckIsa(const ChainCase& c, Isa isa, bool dense, ThreadPool* pool,
                       uint64_t seed);

  std::vector<Isa> isas_;
  ThreadPool one_{1}, two_{2};
  std::deque<GuardedBuffer> inputs_, outputs_;
  std::map<std::string, int64_t> runs_;
};

}  // namespace qsparse::fuzz

#endif  // QSPARSE_FUZZ_CHECK_CHAIN_H_
