// AVX2: products of int16 values.
#include "matmul/matmul_ymm.h"

namespace qsparse {
namespace {

constexpr int kRows = 4;

struct Product {
  static __m256i Add(__m256i sum, __m256i left, __m256i right) {
    return _mm256_add_epi32(sum, _mm256_madd_epi16(left, right));
  }
};

}  // namespace

extern const MatmulKernel kAvx2Matmul;
const MatmulKernel kAvx2Matmul = {
    "matmul", kRows, kLanes, Unit<Centered>(), /*pack_rate=*/1.5, &PackLeft<Centered>,
    &PackRight<Centered, kLanes>, &Multiply<Product, kRows>};

}  // namespace qsparse
