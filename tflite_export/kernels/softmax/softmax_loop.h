// The loops of softmax_kernel.h, compiled once per instruction set; internal linkage, so
// that no copy can stand in for another.
#ifndef QSPARSE_SOFTMAX_SOFTMAX_LOOP_H_
#define QSPARSE_SOFTMAX_SOFTMAX_LOOP_H_

#include <algorithm>

#include "base/unroll.h"
#include "graph/operation_shape.h"
#include "softmax/softmax_kernel.h"

namespace qsparse {
namespace {

inline int32_t Largest(const int8_t* row, int32_t columns) {
  int8_t largest = row[0];
  for (int32_t i = 1; i < columns; ++i) largest = std::max(largest, row[i]);
  return largest;
}

// Floats are added one after the other, so rows go side by side instead.
template <int kRows>
void AddExponentials(const SoftmaxArgs& a, const int8_t* input, float* sums) {
  constexpr int32_t kLast = kSoftmaxValues - 1;
  const float* table[kRows];
  float sum[kRows];
  QSPARSE_UNROLL
  for (int r = 0; r < kRows; ++r) {
    table[r] = a.table + (kLast - Largest(input + r * a.columns, a.columns));
    sum[r] = 0.0f;
  }
  for (int32_t i = 0; i < a.columns; ++i) {
    QSPARSE_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const float value = table[r][input[r * a.columns + i]];
      sum[r] += value;
      a.scratch[r * a.columns + i] = value;
    }
  }
  QSPARSE_UNROLL
  for (int r = 0; r < kRows; ++r) sums[r] = sum[r];
}

// Rounds halves up, without the error of adding one half first.
inline void Normalize(const float* values, float sum, int32_t columns, int8_t* output) {
  const float factor = 1.0f / (sum * kSoftmaxScale);
  for (int32_t i = 0; i < columns; ++i) {
    const float value = values[i] * factor;
    const int32_t whole = static_cast<int32_t>(value);
    const int32_t up = value - static_cast<float>(whole) >= 0.5f ? 1 : 0;
    output[i] = static_cast<int8_t>(std::min(whole + up + kSoftmaxZeroPoint, 127));
  }
}

template <int kRows>
void SoftmaxOfRows(const SoftmaxArgs& a, int32_t row) {
  const size_t first = static_cast<size_t>(row) * static_cast<size_t>(a.columns);
  float sums[kRows];
  AddExponentials<kRows>(a, a.input + first, sums);
  for (int r = 0; r < kRows; ++r) {
    const size_t at = static_cast<size_t>(r) * static_cast<size_t>(a.columns);
    Normalize(a.scratch + at, sums[r], a.columns, a.output + first + at);
  }
}

inline void SoftmaxLoop(const SoftmaxArgs& a) {
  constexpr int32_t kRows = 4;
  static_assert(kRows <= kSoftmaxRows);
  int32_t row = 0;
  for (; row + kRows <= a.rows; row += kRows) SoftmaxOfRows<kRows>(a, row);
  for (; row < a.rows; ++row) SoftmaxOfRows<1>(a, row);
}

}  // namespace
}  // namespace qsparse

#endif  // QSPARSE_SOFTMAX_SOFTMAX_LOOP_H_
