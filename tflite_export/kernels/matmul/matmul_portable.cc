// Any CPU: products of int16 values.
#include <cmath>

#include "matmul/matmul_pack.h"

namespace qsparse {
namespace {

constexpr int32_t kRows = 4;
constexpr int32_t kColumns = 8;

int8_t Requantize(int32_t sum, const FixedPoint& fixed) {
  const int64_t product = int64_t{sum} * fixed.multiplier;
  const int32_t high = static_cast<int32_t>((product + (int64_t{1} << 30)) >> 31);
  const int32_t half = int32_t{1} << (fixed.shift - 1);
  const int32_t value = (high + half + (high >> 31)) >> fixed.shift;
  return static_cast<int8_t>(
      std::min(std::max(value + fixed.zero_point, -128), 127));
}

int8_t RoundOnce(int32_t sum, float factor, int32_t zero_point) {
  const float least = static_cast<float>(-128 - zero_point);
  const float most = static_cast<float>(127 - zero_point);
  const float value = std::min(std::max(static_cast<float>(sum) * factor, least), most);
  return static_cast<int8_t>(static_cast<int32_t>(std::lrintf(value)) + zero_point);
}

void Multiply(const MatmulArgs& a) {
  const int32_t depth = a.dwords * Unit<Centered>();
  for (int32_t n = 0; n < a.columns; n += kColumns) {
    const auto* const right = reinterpret_cast<const int16_t*>(a.right) +
                              static_cast<size_t>(n) * depth;
    const int32_t columns = std::min(kColumns, a.columns - n);
    for (int32_t m = 0; m < a.rows; m += kRows) {
      const auto* const left =
          reinterpret_cast<const int16_t*>(a.left) + static_cast<size_t>(m) * depth;
      int32_t sums[kRows][kColumns] = {};
      for (int32_t k = 0; k < depth; k += 2) {
        for (int32_t r = 0; r < kRows; ++r) {
          const int16_t* const pair = left + r * depth + k;
          for (int32_t c = 0; c < kColumns; ++c) {
            const int16_t* const other = right + k * kColumns + c * 2;
            sums[r][c] += pair[0] * other[0] + pair[1] * other[1];
          }
        }
      }
      for (int32_t r = 0; r < std::min(kRows, a.rows - m); ++r) {
        int8_t* const out = a.out + static_cast<size_t>(m + r) * a.columns + n;
        for (int32_t c = 0; c < columns; ++c) {
          out[c] = a.factor == 0 ? Requantize(sums[r][c], a.fixed)
                                 : RoundOnce(sums[r][c], a.factor, a.fixed.zero_point);
        }
      }
    }
  }
}

}  // namespace

extern const MatmulKernel kPortableMatmul;
const MatmulKernel kPortableMatmul = {
    "matmul", kRows, kColumns, Unit<Centered>(), /*pack_rate=*/1.5, &PackLeft<Centered>,
    &PackRight<Centered, kColumns>, &Multiply};

}  // namespace qsparse
