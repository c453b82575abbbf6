// What the row kernels of NEON share: packing, the loop over entries, and writing
// outputs. A register is one position of 4 outputs; an entry is a struct for
// `kVectors` of them that loads its registers once and then multiplies one position
// after the other with them.
//
// Where rows are few there is no second set of accumulators: by its optimization guide
// the Cortex-A76 hands a sum from one product to the next within a cycle.
#ifndef QSPARSE_ROWS_NEON_ROWS_H_
#define QSPARSE_ROWS_NEON_ROWS_H_

#include "blocks/neon.h"
#include "rows/row_kernel.h"

namespace qsparse {
namespace {

inline void PackRows(const PackArgs& a) {
  for (int p = 0; p < a.positions; ++p) {
    const int8_t* row = SourceRow(a, p);
    uint8_t* out = a.packed + static_cast<size_t>(p) * kLineChannels;
    int left = a.channels;
    for (; left >= kLineChannels; left -= kLineChannels, row += kLineChannels) {
      std::memcpy(out, row, kLineChannels);
      out += a.plane_stride;
    }
    if (left != 0) std::memcpy(out, row, left);
  }
}

// Results of one position and 8 outputs: half to even, saturated on the way to 8 bits.
struct RowRequantizer {
  explicit RowRequantizer(const RowArgs& a)
      : zero_point(vdupq_n_s16(a.zero_point)),
        min(vdup_n_s8(a.min)),
        max(vdup_n_s8(a.max)) {}

  int8x8_t operator()(int32x4_t low, int32x4_t high, const float* scale) const {
    const int32x4_t q = vcvtnq_s32_f32(vmulq_f32(vcvtq_f32_s32(low), vld1q_f32(scale)));
    const int32x4_t r =
        vcvtnq_s32_f32(vmulq_f32(vcvtq_f32_s32(high), vld1q_f32(scale + kLanes)));
    const int16x8_t both = vqmovn_high_s32(vqmovn_s32(q), r);
    return vmin_s8(vmax_s8(vqmovn_s16(vqaddq_s16(both, zero_point)), min), max);
  }

  int16x8_t zero_point;
  int8x8_t min, max;
};

// Left alone, the compiler collects the loads of all rows first and runs out of
// registers: these sums must be done before the next are begun.
inline void Finish(int32x4_t& a, int32x4_t& b, int32x4_t& c, int32x4_t& d) {
  __asm__ volatile("" : "+w"(a), "+w"(b), "+w"(c), "+w"(d) : : "memory");
}

template <typename Entry, int kRows>
inline void AddEntry(const uint8_t* packed, const uint8_t* bytes,
                     int32x4_t (&acc)[kRows][Entry::kVectors]) {
  const int8_t* const x = reinterpret_cast<const int8_t*>(packed);
  const Entry entry(bytes);
  QSPARSE_UNROLL
  for (int m = 0; m < kRows; ++m) {
    entry.Multiply(x + m * kLineChannels, acc[m]);
    if constexpr (Entry::kVectors == 4) {
      Finish(acc[m][0], acc[m][1], acc[m][2], acc[m][3]);
    } else if (m % 2 == 1) {
      Finish(acc[m - 1][0], acc[m - 1][1], acc[m][0], acc[m][1]);
    }
  }
}

template <typename Entry, int kRows>
void ComputeRows(const RowArgs& a) {
  constexpr int kPair = 2 * kLanes;
  constexpr int kOutputs = Entry::kVectors * kLanes;
  const uint8_t* const packed = a.packed;
  const RowRequantizer requantize(a);
  for (int group = 0; group < a.groups; ++group) {
    int32x4_t acc[kRows][Entry::kVectors];
    QSPARSE_UNROLL
    for (int v = 0; v < Entry::kVectors; ++v) {
      const int32x4_t bias = vld1q_s32(a.bias + group * kOutputs + v * kLanes);
      QSPARSE_UNROLL
      for (int m = 0; m < kRows; ++m) acc[m][v] = bias;
    }
    const int32_t* offset = a.offsets + a.offset_begin[group];
    const int32_t* const end = offset + (a.list_begin[group + 1] - a.list_begin[group]);
    const uint8_t* entry =
        a.entries + static_cast<size_t>(a.list_begin[group]) * Entry::kBytes;
    QSPARSE_ROLLED
    for (; offset != end; ++offset, entry += Entry::kBytes) {
      AddEntry<Entry>(packed + *offset, entry, acc);
    }
    const float* const scale = a.scale + group * kOutputs;
    const int left = a.outputs - group * kOutputs;
    int8_t* const out = a.output + group * kOutputs;
    QSPARSE_UNROLL
    for (int m = 0; m < kRows; ++m) {
      if (a.target[m] < 0) continue;
      int8_t* const to = out + static_cast<size_t>(a.target[m]) * a.row_stride;
      QSPARSE_UNROLL
      for (int v = 0; v < Entry::kVectors; v += 2) {
        const int8x8_t eight =
            requantize(acc[m][v], acc[m][v + 1], scale + v * kLanes);
        const int first = v * kLanes;
        if (left >= first + kPair) {
          vst1_s8(to + first, eight);
        } else if (left > first) {
          std::memcpy(to + first, &eight, left - first);
        }
      }
    }
  }
}

template <typename Entry, int kRows = Entry::kMaxRows>
void Compute(const RowArgs& a) {
  if constexpr (kRows > 1) {
    if (a.rows < kRows) return Compute<Entry, kRows - 1>(a);
  }
  ComputeRows<Entry, kRows>(a);
}

// Four channels in the first lane. Left alone, the compiler spreads them as it loads
// them, by an instruction that takes no offset.
inline int32x4_t LoadQuad(const int8_t* x) {
  int32_t bytes;
  std::memcpy(&bytes, x, sizeof(bytes));
  int32x4_t quad = vsetq_lane_s32(bytes, vdupq_n_s32(0), 0);
  __asm__("" : "+w"(quad));
  return quad;
}

// Any pattern: each of 8 outputs names four of 32 neighbouring channels, which are
// two registers; a table of more is slower to look up. `Product` is what an ISA adds
// its products with: how many rows it has registers for, the order of four bytes per
// output, the sums of a register, and those of a block.
template <typename Product>
struct FineEntry {
  static constexpr int kVectors = 2;
  static constexpr int kMaxRows = Product::kFineRows;
  static constexpr int kHalfBytes = kVectors * kRegisterBytes;
  static constexpr int kBytes = 2 * kHalfBytes;

  explicit FineEntry(const uint8_t* bytes) {
    QSPARSE_UNROLL
    for (int v = 0; v < kVectors; ++v, bytes += kRegisterBytes) {
      indices[v] = vld1q_u8(bytes);
      weights[v] = vreinterpretq_s8_u8(vld1q_u8(bytes + kHalfBytes));
    }
  }

  void Multiply(const int8_t* x, int32x4_t (&acc)[kVectors]) const {
    const int8x16x2_t window = {{vld1q_s8(x), vld1q_s8(x + kRegisterBytes)}};
    QSPARSE_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      acc[v] = Product::Add(acc[v], vqtbl2q_s8(window, indices[v]), weights[v]);
    }
  }

  static void Pack(const int8_t* from, const uint8_t* places, uint8_t* packed) {
    Product::Order(places, kHalfBytes, packed);
    Product::Order(reinterpret_cast<const uint8_t*>(from), kHalfBytes,
                   packed + kHalfBytes);
  }

  uint8x16_t indices[kVectors];
  int8x16_t weights[kVectors];
};

// A block of 16 outputs and 4 channels.
template <typename Product>
struct BlockEntry {
  static constexpr int kVectors = 4;
  static constexpr int kMaxRows = Product::kBlockRows;
  static constexpr int kBytes = kVectors * kRegisterBytes;

  explicit BlockEntry(const uint8_t* bytes) {
    QSPARSE_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      weights[v] = vreinterpretq_s8_u8(vld1q_u8(bytes + v * kRegisterBytes));
    }
  }

  void Multiply(const int8_t* x, int32x4_t (&acc)[kVectors]) const {
    Product::AddBlock(LoadQuad(x), weights, acc);
  }

  static void Pack(const int8_t* from, const uint8_t*, uint8_t* packed) {
    Product::Order(reinterpret_cast<const uint8_t*>(from), kBytes, packed);
  }

  int8x16_t weights[kVectors];
};

// From counted instructions, the only evidence (benchmarks/arm.py): whether table
// lookups are as fast as products, no processor has been asked.
constexpr RowRates RatesOf(Isa isa, double entry, double row) {
  constexpr double kRequantize = 3.5, kChunk = 13, kCall = 4000;
  const double peak = PeakOf(isa);
  return {entry * peak, row * peak, kRequantize * peak, kChunk * peak, kCall * peak};
}

template <typename Product>
constexpr RowKernel FineKernel(Isa isa) {
  using Entry = FineEntry<Product>;
  return {"fine", isa, /*needs_vbmi=*/false, /*max_positions=*/0, Entry::kMaxRows,
          Entry::kVectors * kLanes, /*window=*/32, /*run=*/32, /*kept=*/4,
          /*channel_bytes=*/1, /*input_offset=*/0, Entry::kBytes,
          RatesOf(isa, Product::kFineEntryCost, Product::kFineRowCost), Entry::Pack,
          PackRows, Compute<Entry>, Product::kNarrowWeights};
}

template <typename Product>
constexpr RowKernel BlockRowKernel(Isa isa) {
  using Entry = BlockEntry<Product>;
  return {"rows_16x4", isa, /*needs_vbmi=*/false, /*max_positions=*/0, Entry::kMaxRows,
          Entry::kVectors * kLanes, /*window=*/kBlock, /*run=*/kBlock, /*kept=*/kBlock,
          /*channel_bytes=*/1, /*input_offset=*/0, Entry::kBytes,
          RatesOf(isa, Product::kBlockEntryCost, Product::kBlockRowCost), Entry::Pack,
          PackRows, Compute<Entry>, Product::kNarrowWeights};
}

}  // namespace
}  // namespace qsparse

#endif  // QSPARSE_ROWS_NEON_ROWS_H_
