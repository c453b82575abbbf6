// Which ISA this CPU and its operating system support.
#ifndef QSPARSE_CPU_H_
#define QSPARSE_CPU_H_

#include <string>

#include "kernel.h"

namespace qsparse {

// What XNNPACK's dense kernels can use here, a finer scale than our own table.
// Their AVX512-VNNI kernel reaches 99% of the peak on AMD (Zen 5), 63% on Intel.
// With SME2 they use ARM's matrix unit, for which we have no kernels.
enum class DenseIsa : uint8_t {
  kOther,
  kAvx2,
  kAvxVnni,
  kAvx512Vnni,
  kAvx512VnniIntel,
  kNeon,
  kNeonDotprod,
  kNeonI8mm,
  kSme2
};

DenseIsa DenseIsaOfCpu();

// Beside AVX512-VNNI, which came before it.
bool HasAvx512Vbmi();

bool IsSupported(Isa isa);
Isa BestIsa();
const char* IsaName(Isa isa);

// False when `name` is no ISA of the table ("auto" is not one).
bool ParseIsa(const std::string& name, Isa* isa);

}  // namespace qsparse

#endif  // QSPARSE_CPU_H_
