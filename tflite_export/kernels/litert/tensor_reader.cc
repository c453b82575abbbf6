#include "litert/tensor_reader.h"

#include <algorithm>
#include <cmath>

namespace qsparse {
namespace {

using litert::AffineQuantization;
using litert::Tensor;

int32_t Quantize(float value, float scale, int32_t zero_point) {
  const float q = value / scale + static_cast<float>(zero_point);
  return static_cast<int32_t>(std::lrint(std::min(std::max(q, -128.0f), 127.0f)));
}

}  // namespace

// Negative when the shape is absent, not positive or too large.
int64_t ElementCount(const Tensor& tensor) {
  if (tensor.dims == nullptr || tensor.dims->size < 1 || tensor.dims->size > 8) {
    return -1;
  }
  int64_t count = 1;
  for (int i = 0; i < tensor.dims->size; ++i) {
    const int32_t dim = tensor.dims->data()[i];
    if (dim < 1 || dim > kMaxElements) return -1;
    count *= dim;
    if (count > kMaxElements) return -1;
  }
  return count;
}

bool SameDims(const litert::IntArray& dims, const std::vector<int32_t>& expected) {
  return dims.size == static_cast<int32_t>(expected.size()) &&
         std::equal(expected.begin(), expected.end(), dims.data());
}

bool HasChannels(const Tensor& images, int32_t channels) {
  return images.dims != nullptr && images.dims->size == 4 &&
         images.dims->data()[3] == channels;
}

bool IsConstant(const Tensor& tensor, int64_t bytes) {
  return tensor.allocation_type == litert::kMmapRo && tensor.data != nullptr &&
         tensor.bytes == static_cast<size_t>(bytes) && tensor.sparsity == nullptr;
}

const AffineQuantization* Affine(const Tensor& tensor) {
  if (tensor.quantization.type != litert::kAffineQuantization) return nullptr;
  const auto* affine =
      static_cast<const AffineQuantization*>(tensor.quantization.params);
  if (affine == nullptr || affine->scale == nullptr ||
      affine->zero_point == nullptr || affine->scale->size < 1 ||
      affine->zero_point->size < 1 || affine->quantized_dimension != 0) {
    return nullptr;
  }
  return affine;
}

bool IsScale(float scale) { return std::isnormal(scale) && scale > 0.0f; }

bool ReadPerTensor(const Tensor& tensor, PerTensor* out) {
  const AffineQuantization* affine = Affine(tensor);
  if (affine == nullptr || affine->scale->size != 1 ||
      affine->zero_point->size != 1) {
    return false;
  }
  out->scale = affine->scale->data()[0];
  out->zero_point = affine->zero_point->data()[0];
  return IsScale(out->scale) && out->zero_point >= -128 && out->zero_point <= 127;
}

std::string ReadActivation(const Tensor& output, int32_t activation, int32_t* min,
                           int32_t* max) {
  PerTensor q;
  if (!ReadPerTensor(output, &q)) return "output is not quantized per tensor";
  const auto at = [&q](float value) { return Quantize(value, q.scale, q.zero_point); };
  switch (activation) {
    case litert::kActivationNone:
      break;
    case litert::kActivationRelu:
      *min = at(0.0f);
      break;
    case litert::kActivationReluN1To1:
      *min = at(-1.0f);
      *max = at(1.0f);
      break;
    case litert::kActivationRelu6:
      *min = at(0.0f);
      *max = at(6.0f);
      break;
    default:
      return "fused activation not supported";
  }
  if (*min >= *max) return "empty activation range";
  return "";
}

}  // namespace qsparse
