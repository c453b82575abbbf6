// What a layer's outputs must be, written from the definition.
//
// Independent of the kernels on purpose: change it when the definition changes,
// never because a kernel disagrees.
#ifndef QSPARSE_FUZZ_REFERENCE_H_
#define QSPARSE_FUZZ_REFERENCE_H_

#include <cstdint>
#include <vector>

#include "add.h"
#include "layer.h"

namespace qsparse::fuzz {

std::vector<int8_t> Reference(const Layer& layer, const std::vector<int8_t>& input);

// The sum of two tensors as XNNPACK defines it.
std::vector<int8_t> ReferenceSum(const AddScales& scales, const std::vector<int8_t>& a,
                                 const std::vector<int8_t>& b);

}  // namespace qsparse::fuzz

#endif  // QSPARSE_FUZZ_REFERENCE_H_
