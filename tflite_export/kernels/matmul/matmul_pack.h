// Packing in plain C++, for kernels and for shapes that need no better. Internal
// linkage: each file that includes it is compiled for its own instructions.
#ifndef QSPARSE_MATMUL_MATMUL_PACK_H_
#define QSPARSE_MATMUL_MATMUL_PACK_H_

#include <cstring>
#include <type_traits>

#include "matmul/matmul_kernel.h"

namespace qsparse {
namespace {

// int16 values with their zero points taken off: no sums have to be corrected.
struct Centered {
  using Value = int16_t;
  static constexpr bool kSums = false;
  static int16_t Left(int8_t value, int32_t zero_point) {
    return static_cast<int16_t>(value - zero_point);
  }
  static int16_t Right(int8_t value, int32_t zero_point) {
    return static_cast<int16_t>(value - zero_point);
  }
};

// Bytes for products of unsigned by signed: the left side is 128 too large.
struct Flipped {
  using Value = int8_t;
  static constexpr bool kSums = true;
  static int8_t Left(int8_t value, int32_t) {
    return static_cast<int8_t>(value ^ -128);
  }
  static int8_t Right(int8_t value, int32_t) { return value; }
};

inline int32_t LeftBias(const MatmulSide& s, int32_t sum) {
  return -s.other_zero_point * sum;
}

inline int32_t RightBias(const MatmulSide& s, int32_t sum) {
  const int32_t both = s.depth * s.zero_point * s.other_zero_point;
  return both - (s.other_zero_point + 128) * sum;
}

template <typename Format>
constexpr int32_t Unit() {
  return static_cast<int32_t>(sizeof(int32_t) / sizeof(typename Format::Value));
}

// With the distance known the compiler sees a line of values.
template <typename Format, typename Stride>
void PackLeftRow(const MatmulSide& s, const int8_t* row, Stride stride, int32_t padded,
                 typename Format::Value* out, int32_t* bias) {
  int32_t sum = 0;
  for (int32_t k = 0; k < s.depth; ++k) {
    const int8_t value = row[static_cast<size_t>(k) * stride];
    if (Format::kSums) sum += value;
    out[k] = Format::Left(value, s.zero_point);
  }
  for (int32_t k = s.depth; k < padded; ++k) out[k] = 0;
  *bias = Format::kSums ? LeftBias(s, sum) : 0;
}

template <typename Format>
void PackLeft(const MatmulSide& s) {
  constexpr int32_t kUnit = Unit<Format>();
  const int32_t padded = (s.depth + kUnit - 1) / kUnit * kUnit;
  auto* out = reinterpret_cast<typename Format::Value*>(s.packed);
  for (int32_t i = 0; i < s.count; ++i, out += padded) {
    const int8_t* const row = s.data + static_cast<size_t>(i) * s.stride;
    if (s.depth_stride == 1) {
      PackLeftRow<Format>(s, row, std::integral_constant<size_t, 1>(), padded, out,
                          s.bias + i);
    } else {
      PackLeftRow<Format>(s, row, s.depth_stride, padded, out, s.bias + i);
    }
  }
}

// One dword of depth of a panel: `from` is its first value, `values` and `columns` say
// how much of it there is.
template <int32_t kUnit, int32_t kColumns>
void ReadBlock(const MatmulSide& s, const int8_t* from, int32_t values, int32_t columns,
               int8_t (&block)[kColumns][kUnit]) {
  if (values == kUnit && columns == kColumns && s.stride == 1) {
    for (int32_t j = 0; j < kUnit; ++j) {
      const int8_t* const line = from + static_cast<size_t>(j) * s.depth_stride;
      for (int32_t c = 0; c < kColumns; ++c) block[c][j] = line[c];
    }
    return;
  }
  for (int32_t c = 0; c < columns; ++c) {
    const int8_t* const column = from + static_cast<size_t>(c) * s.stride;
    if (values == kUnit && s.depth_stride == 1) {
      std::memcpy(block[c], column, kUnit);
      continue;
    }
    for (int32_t j = 0; j < values; ++j) {
      block[c][j] = column[static_cast<size_t>(j) * s.depth_stride];
    }
  }
}

template <typename Format, int32_t kColumns>
void PackRight(const MatmulSide& s) {
  constexpr int32_t kUnit = Unit<Format>();
  auto* out = reinterpret_cast<typename Format::Value*>(s.packed);
  const auto nothing = static_cast<int8_t>(Format::kSums ? 0 : s.zero_point);
  for (int32_t n = 0; n < s.count; n += kColumns) {
    const int32_t columns = std::min(kColumns, s.count - n);
    const int8_t* const from = s.data + static_cast<size_t>(n) * s.stride;
    int32_t sums[kColumns] = {};
    for (int32_t k = 0; k < s.depth; k += kUnit) {
      const int32_t values = std::min(kUnit, s.depth - k);
      int8_t block[kColumns][kUnit];
      if (values < kUnit || columns < kColumns) {
        std::memset(block, nothing, sizeof(block));
      }
      ReadBlock(s, from + static_cast<size_t>(k) * s.depth_stride, values, columns,
                block);
      for (int32_t c = 0; c < kColumns; ++c) {
        for (int32_t j = 0; j < kUnit; ++j) {
          if (Format::kSums) sums[c] += block[c][j];
          *out++ = Format::Right(block[c][j], s.zero_point);
        }
      }
    }
    for (int32_t c = 0; c < kColumns; ++c) {
      s.bias[n + c] = Format::kSums ? RightBias(s, sums[c]) : 0;
    }
  }
}

}  // namespace
}  // namespace qsparse

#endif  // QSPARSE_MATMUL_MATMUL_PACK_H_
