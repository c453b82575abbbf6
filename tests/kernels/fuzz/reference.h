// What a layer's outputs must be, written from the definition.
//
// Independent of the kernels on purpose: change it when the definition changes,
// never because a kernel disagrees.
#ifndef QSPARSE_FUZZ_REFERENCE_H_
#define QSPARSE_FUZZ_REFERENCE_H_

#include <cstdint>
#include <vector>

#include "add/add.h"
#include "graph/layer.h"

namespace qsparse::fuzz {

std::vector<int8_t> Reference(const Layer& layer, const std::vector<int8_t>& input);

// The sum of two tensors as XNNPACK defines it.
std::vector<int8_t> ReferenceSum(const AddScales& scales, const std::vector<int8_t>& a,
                                 const std::vector<int8_t>& b);

// The largest value of every window; outside the image all values are `border`.
std::vector<int8_t> ReferenceWindow(const Layer& window, int8_t border,
                                    const std::vector<int8_t>& input);

}  // namespace qsparse::fuzz

#endif  // QSPARSE_FUZZ_REFERENCE_H_
