// The second family of kernels: they read activations position by position, and
// a register holds one position of 16 (or 8, or 4) outputs.
//
// The kernels of kernel.h share every nonzero between 4 outputs; these do not have
// to. They serve patterns that differ from output to output (N:M, unstructured),
// and single positions, where quad planes leave most of a register empty.
//
// Activations are packed as [64 channels][position]: a position's 64 channels are
// one cache line, the next position follows, and every kernel tap is a constant
// shift, so that no convolution is unfolded. Neighbours at a constant distance let
// an instruction address them without a register each.
//
// The weights of a group of outputs are one list of entries: the byte offset of a
// window of channels, and a kernel-specific number of nonzeros of each output. How
// the zeros are skipped is said by four numbers, so that one packer serves all.
#ifndef QSPARSE_ROWS_ROW_KERNEL_H_
#define QSPARSE_ROWS_ROW_KERNEL_H_

#include <cstddef>
#include <cstdint>

#include "blocks/kernel.h"

namespace qsparse {

// Channels of a packed position that lie together: a multiple of every window.
inline constexpr int kLineChannels = 64;

// Computes `rows` neighbouring positions of `groups` groups of outputs.
struct RowArgs {
  const uint8_t* packed;       // the first position
  const uint8_t* entries;
  const uint32_t* list_begin;  // groups + 1 indices into the entries
  const int32_t* offsets;      // byte offset of each entry's window
  const uint32_t* offset_begin;  // index of each group's first; groups may share
  int32_t groups;
  int32_t outputs;             // of these groups; the last may be incomplete
  const int32_t* bias;         // a whole group each, zero points folded in
  const float* scale;          // likewise
  int8_t zero_point;
  int8_t min;
  int8_t max;
  int32_t rows;                // 1 to max_rows
  const int32_t* target;       // output row of each position, negative: discard
  int8_t* output;              // already advanced to the first output channel
  size_t row_stride;
};

// What a kernel costs, in the unit and with the evidence of Rates.
struct RowRates {
  double entry;       // of an entry and tile: loading its weights
  double row;         // of an entry and row: its products
  double requantize;  // per output
  double chunk;       // packing 64 bytes of a row
  double call;        // fixed cost of an invocation
  double row_on_intel = 0;  // in place of `row` where not 0
};

struct RowKernel {
  const char* name;
  Isa isa;
  bool needs_vbmi;       // beside the ISA
  int64_t max_positions; // of the layers it takes; 0: any layer
  int32_t max_rows;      // positions per tile
  int32_t outputs;       // per group
  // A window of channels is cut into runs; an entry holds up to `kept` nonzeros of
  // every run, so a window has as many entries as its fullest run asks for. With
  // `kept` equal to `run` there is nothing to choose: weights keep their places.
  // A window of one run may start at any channel, otherwise at multiples of its size.
  int32_t window;
  int32_t run;
  int32_t kept;
  int32_t channel_bytes; // of a packed activation
  int32_t input_offset;  // added to every activation by packing
  int32_t entry_bytes;
  RowRates rates;
  // Both arrays are [outputs][slots]; an index counts from the start of its run.
  void (*pack_entry)(const int8_t* weights, const uint8_t* indices, uint8_t* packed);
  void (*pack)(const PackArgs& args);  // plane_stride: from 64 channels to the next
  void (*compute)(const RowArgs& args);
  bool narrow_weights = false;  // as in Kernel

  int32_t slots() const { return window / run * kept; }
  int32_t line_bytes() const { return kLineChannels * channel_bytes; }
};

}  // namespace qsparse

#endif  // QSPARSE_ROWS_ROW_KERNEL_H_
