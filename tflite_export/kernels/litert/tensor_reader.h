// What a tensor of an untrusted model says about itself.
#ifndef QSPARSE_LITERT_TENSOR_READER_H_
#define QSPARSE_LITERT_TENSOR_READER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "litert/litert_abi.h"

namespace qsparse {

// Far above any real layer, far below overflow of the products taken later.
inline constexpr int64_t kMaxElements = int64_t{1} << 28;

// Negative when the shape is absent, not positive or too large.
int64_t ElementCount(const litert::Tensor& tensor);

bool SameDims(const litert::IntArray& dims, const std::vector<int32_t>& expected);

// Images as the file states them: four axes, the last of that size.
bool HasChannels(const litert::Tensor& images, int32_t channels);

bool IsConstant(const litert::Tensor& tensor, int64_t bytes);

// Null when there is no usable quantization.
const litert::AffineQuantization* Affine(const litert::Tensor& tensor);

bool IsScale(float scale);

struct PerTensor {
  float scale = 0.0f;
  int32_t zero_point = 0;
};

bool ReadPerTensor(const litert::Tensor& tensor, PerTensor* out);

// Narrows the range of an output by its fused activation; empty on success, else why not.
std::string ReadActivation(const litert::Tensor& output, int32_t activation,
                           int32_t* min, int32_t* max);

}  // namespace qsparse

#endif  // QSPARSE_LITERT_TENSOR_READER_H_
