// Which instructions this CPU and its operating system support, and what XNNPACK makes
// of them.
#ifndef QSPARSE_BASE_CPU_H_
#define QSPARSE_BASE_CPU_H_

#include <string>

#include "base/isa.h"

namespace qsparse {

// What XNNPACK's int8 kernels run on, a finer scale than our own table: it has kernels
// for 512 bits without VNNI, and for the matrix units of x86 and ARM.
enum class XnnpackIsa : uint8_t {
  kOther,
  kAvx2,
  kAvx512,
  kAvxVnni,
  kAvx512Vnni,
  kAmx,
  kNeon,
  kNeonDotprod,
  kNeonI8mm,
  kSme2
};

// All that the choice of kernels depends on.
struct Cpu {
  Isa isa = Isa::kPortable;  // our best
  XnnpackIsa xnnpack = XnnpackIsa::kOther;
  bool has_vbmi = false;  // AVX512-VBMI beside AVX512-VNNI, which came before it
  // XNNPACK's AVX512-VNNI kernel reaches 63% of the peak, on AMD (Zen 5) 99%.
  bool is_intel = false;

  // Whether 64 bytes are looked up at once where our kernels are those of `on`.
  bool looks_up_bytes(Isa on) const { return on == Isa::kAvx512Vnni && has_vbmi; }
};

// Detected once.
const Cpu& ThisCpu();

// False when `name` is none of those this build knows, as compilers call them.
bool FindCpu(const std::string& name, Cpu* cpu);

// For people: "AVX512-VNNI".
const char* XnnpackIsaName(XnnpackIsa isa);

bool IsSupported(Isa isa);
const char* IsaName(Isa isa);

// False when `name` is no ISA of the table ("auto" is not one).
bool ParseIsa(const std::string& name, Isa* isa);

}  // namespace qsparse

#endif  // QSPARSE_BASE_CPU_H_
