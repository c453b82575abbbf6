// What a layer's outputs must be, written from the definition.
//
// Independent of the kernels on purpose: change it when the definition changes,
// never because a kernel disagrees.
#ifndef QSPARSE_FUZZ_REFERENCE_H_
#define QSPARSE_FUZZ_REFERENCE_H_

#include <cstdint>
#include <vector>

#include "layer.h"

namespace qsparse::fuzz {

std::vector<int8_t> Reference(const Layer& layer, const std::vector<int8_t>& input);

}  // namespace qsparse::fuzz

#endif  // QSPARSE_FUZZ_REFERENCE_H_
