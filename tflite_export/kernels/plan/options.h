// The delegate's options, parsed from the strings the runtime hands over.
#ifndef QSPARSE_PLAN_OPTIONS_H_
#define QSPARSE_PLAN_OPTIONS_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/cpu.h"
#include "base/isa.h"

namespace qsparse {

struct Options {
  int32_t threads = 0;     // 0: what the interpreter recommends
  Cpu cpu = ThisCpu();
  bool only_plan = false;  // a CPU was named: decide as there, take nothing
  Isa isa = Isa::kPortable;
  double min_gain = 1.1;   // layers predicted to gain less stay with XNNPACK
  bool dense = false;      // run every layer, treating every weight as present
  std::string kernel;      // one to prefer wherever it takes a layer, empty: none
  bool chains = true;      // false: every layer is packed and unpacked by itself
  bool regions = true;     // false: float arithmetic stays with XNNPACK
  std::string plan_path;   // where to write the decisions, empty: nowhere
  int32_t log = 0;
};

// Empty on success, else what is wrong with the options.
std::string ParseOptions(const char* const* keys, const char* const* values,
                         size_t count, Options* options);

}  // namespace qsparse

#endif  // QSPARSE_PLAN_OPTIONS_H_
