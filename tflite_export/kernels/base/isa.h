// The instruction sets that kernels are written for: the rows of isas.inc.
#ifndef QSPARSE_BASE_ISA_H_
#define QSPARSE_BASE_ISA_H_

#include <cstdint>

namespace qsparse {

enum class Isa : uint8_t {
#define QSPARSE_ISA(isa, name, is_supported, peak) isa,
#include "base/isas.inc"
#undef QSPARSE_ISA
};

// See isas.inc. A constant, because rates of kernels are made of it.
constexpr double PeakOf(Isa isa) {
  switch (isa) {
#define QSPARSE_ISA(isa, name, is_supported, peak) \
  case Isa::isa:                                   \
    return peak;
#include "base/isas.inc"
#undef QSPARSE_ISA
  }
  return 1;
}

}  // namespace qsparse

#endif  // QSPARSE_BASE_ISA_H_
