// AVX-VNNI: products of unsigned by signed bytes.
#include "matmul/matmul_ymm.h"

namespace qsparse {
namespace {

constexpr int kRows = 6;

struct Product {
  static __m256i Add(__m256i sum, __m256i left, __m256i right) {
    return _mm256_dpbusd_avx_epi32(sum, left, right);
  }
};

}  // namespace

extern const MatmulKernel kAvxVnniMatmul;
const MatmulKernel kAvxVnniMatmul = {
    "matmul", kRows, kLanes, Unit<Flipped>(), /*pack_rate=*/1.5, &PackLeft<Flipped>,
    &PackRight<Flipped, kLanes>, &Multiply<Product, kRows>};

}  // namespace qsparse
