// What an instruction set provides to multiply two matrices of activations.
//
// Both sides are packed first. A dword holds `unit` values of neighbouring depth; a row
// of the left side is a run of dwords, a panel of the right side is, for every dword of
// depth, one per column. Numerics are those of LiteRT's integer kernel, fixed-point and
// rounded twice, or of XNNPACK, a factor in single precision and rounded once.
#ifndef QSPARSE_MATMUL_MATMUL_KERNEL_H_
#define QSPARSE_MATMUL_MATMUL_KERNEL_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "base/isa.h"
#include "graph/fixed_point.h"

namespace qsparse {

// Rows of the left matrix or columns of the right one.
struct MatmulSide {
  const int8_t* data;
  int32_t count;
  int32_t depth;
  size_t stride;        // between them
  size_t depth_stride;  // between values of one; one of the strides is 1
  int32_t zero_point;
  int32_t other_zero_point;
  uint8_t* packed;
  int32_t* bias;  // receives what the kernel wants added to every sum
};

struct MatmulArgs {
  const uint8_t* left;
  const uint8_t* right;
  const int32_t* left_bias;
  const int32_t* right_bias;
  int32_t rows;
  int32_t columns;
  int32_t dwords;  // of depth
  FixedPoint fixed;
  float factor;  // XNNPACK's, in place of the multiplier and the shift; 0: theirs
  int8_t* out;  // rows of `columns` values
};

struct MatmulKernel {
  const char* name;
  int32_t rows;     // read at once, past the last one too
  int32_t columns;  // of a panel
  int32_t unit;     // values in a dword
  double pack_rate;  // cycles to pack a value, for the cost model
  void (*pack_left)(const MatmulSide& side);
  void (*pack_right)(const MatmulSide& side);
  void (*multiply)(const MatmulArgs& args);

  int32_t dwords(int32_t depth) const { return (depth + unit - 1) / unit; }
  int32_t panels(int32_t count) const { return (count + columns - 1) / columns; }
};

const MatmulKernel& GetMatmulKernel(Isa isa);

}  // namespace qsparse

#endif  // QSPARSE_MATMUL_MATMUL_KERNEL_H_
