// What one ISA has to provide, and the layout all of them share.
//
// Activations are packed "quad-planar": plane q holds channels 4q..4q+3 of every
// position, four bytes together, so a vector register loads 16 (or 8) positions
// of one quad. A layer is then, for every group of 4 outputs, a list of nonzero
// blocks: (byte offset of the quad, 16 weights). The offset carries the channel,
// the kernel tap and the stride phase alike, so fully connected layers, 1x1 and
// KxK convolutions, sparse or dense, run the same inner loop.
#ifndef QSPARSE_BLOCKS_KERNEL_H_
#define QSPARSE_BLOCKS_KERNEL_H_

#include <cstddef>
#include <cstdint>

#include "base/isa.h"

namespace qsparse {

inline constexpr int kBlock = 4;  // outputs, and inputs, of one block
inline constexpr int kBlockWeights = kBlock * kBlock;

// Output groups computed before they are written out: 16 groups of 4 outputs
// are 64 bytes, one cache line of an output row.
inline constexpr int kGroupsPerBatch = 16;

// Gathers rows of `channels` bytes into quad planes.
struct PackArgs {
  const int8_t* input;
  int32_t channels;
  const int32_t* source;  // input row of each position, negative: padding
  int32_t positions;      // multiple of the kernel's lanes
  const int8_t* pad_row;  // `channels` bytes of the input zero point
  uint8_t* packed;        // where the first position goes
  size_t plane_stride;    // bytes from quad to quad
};

// Computes `vectors` x lanes positions of up to kGroupsPerBatch output groups.
struct ComputeArgs {
  const uint8_t* packed;
  const int32_t* offsets;       // byte offset of each block's quad
  const int8_t* weights;        // kernel-specific bytes of each block
  const uint32_t* list_begin;   // groups x columns + 1 indices into the blocks
  int32_t groups;
  // Kernels with `masks_columns`: the blocks of a group come in one list per
  // kernel column, and positions outside the mask of a column read padding.
  int32_t columns;
  const uint16_t* masks;        // null: one column, nothing to mask
  size_t mask_stride;           // masks from column to column
  uint8_t padding;              // packed input zero point
  const int32_t* bias;          // 4 per group, zero points folded in
  const float* scale;           // 4 per group
  int8_t zero_point;
  int8_t min;
  int8_t max;
  uint8_t flip;                 // results are xored with it: 0, or 0x80 for uint8
  int32_t vectors;
  size_t half_stride;           // bytes between the halves of an 8-byte quad
  uint8_t* out;                 // one dword (4 outputs) per position
  size_t out_stride;            // bytes from group to group
};

// Scatters computed dwords to rows of the output.
struct UnpackArgs {
  const uint8_t* computed;
  size_t stride;
  uint8_t flip;           // as in ComputeArgs: what is read was xored with it
  int32_t groups;
  int32_t bytes;          // output bytes these groups hold (tail: not 4 x groups)
  const int32_t* target;  // output row of each position, negative: discard
  int32_t positions;      // multiple of the kernel's lanes
  int8_t* output;         // already advanced to the first output channel
  size_t row_stride;
};

// What a kernel costs, in the time of one multiply-accumulate at the peak rate of its
// ISA, so that clock rates cancel out. Fitted to whole-invocation timings; on ARM not
// timed but derived from counted instructions (benchmarks/arm.py).
struct Rates {
  double block;        // of a block, beside its products: loading its weights
  double block_floor;  // least time of a block and tile: latency of its chain
  double requantize;   // per output position computed
  double chunk;        // packing or unpacking 64 bytes of a row
  double call;         // fixed cost of an invocation
  double spilled;      // factor when a tile does not fit the first-level cache
};

struct Kernel {
  const char* name;
  Isa isa;
  int32_t max_rows;       // positions, at most, of the layers it takes; 0: any layer
  int32_t lanes;          // positions per vector
  int32_t max_vectors;    // vectors per tile
  int32_t quad_bytes;     // bytes of a packed quad: 4 (int8) or 8 (int16)
  int32_t input_offset;   // added to every activation by packing
  int32_t block_bytes;    // bytes of a packed block
  bool masks_columns;     // understands ComputeArgs::masks
  Rates rates;
  void (*pack_block)(const int8_t* weights, int8_t* packed);
  void (*pack)(const PackArgs& args);
  // Like `pack`, but quads of 4 bytes on every ISA: what layers of a chain hand on.
  void (*pack_quads)(const PackArgs& args);
  void (*compute)(const ComputeArgs& args);
  void (*unpack)(const UnpackArgs& args);
  bool narrow_weights = false;  // exact only where no weight is -128
  // Rearranges the packed blocks of a whole list, where not null.
  void (*pack_list)(int8_t* weights, size_t blocks) = nullptr;
};

// How activations are kept between the layers of a chain: xored with this.
inline uint8_t FlipOf(const Kernel& kernel) {
  return kernel.quad_bytes == kBlock ? static_cast<uint8_t>(kernel.input_offset) : 0;
}

}  // namespace qsparse

#endif  // QSPARSE_BLOCKS_KERNEL_H_
