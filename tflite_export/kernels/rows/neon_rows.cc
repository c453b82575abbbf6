// NEON of ARMv8.0, layers that blocks of 4x4 cannot serve: as in neon.cc, a sum of
// two products fits 16 bits as long as no weight is -128.
//
// Half a register is multiplied at a time, and lane i of one half is added to lane i
// of the other: an output has two products in the low half and two in the high one.
#include "rows/neon_rows.h"

namespace qsparse {
namespace {

struct Product {
  static constexpr int kFineRows = 10;
  static constexpr int kBlockRows = 4;
  static constexpr bool kNarrowWeights = true;
  // Instructions of an entry and tile, and of an entry and row.
  static constexpr double kFineEntryCost = 7, kFineRowCost = 9;
  static constexpr double kBlockEntryCost = 11, kBlockRowCost = 15;

  static void Order(const uint8_t* bytes, int count, uint8_t* packed) {
    constexpr int kPair = 2;
    constexpr int kHalf = kRegisterBytes / 2;
    for (int i = 0; i < count; ++i) {
      const int in_register = i % kRegisterBytes;
      const int output = in_register / kBlock, half = i % kBlock / kPair;
      packed[i - in_register + half * kHalf + output * kPair + i % kPair] = bytes[i];
    }
  }

  static int32x4_t Add(int32x4_t acc, int8x16_t x, int8x16_t w) {
    return AddHalves(acc, x, x, w);
  }

  template <int kVectors>
  static void AddBlock(int32x4_t quad, const int8x16_t (&weights)[kVectors],
                       int32x4_t (&acc)[kVectors]) {
    const int16x8_t pairs = vreinterpretq_s16_s32(quad);
    const int8x16_t low = vreinterpretq_s8_s16(vdupq_laneq_s16(pairs, 0));
    const int8x16_t high = vreinterpretq_s8_s16(vdupq_laneq_s16(pairs, 1));
    QSPARSE_UNROLL
    for (int v = 0; v < kVectors; ++v) acc[v] = AddHalves(acc[v], low, high, weights[v]);
  }

  // The low half of `low` and the high half of `high`.
  static int32x4_t AddHalves(int32x4_t acc, int8x16_t low, int8x16_t high, int8x16_t w) {
    const int16x8_t products = vmull_s8(vget_low_s8(low), vget_low_s8(w));
    return vpadalq_s16(acc, vmlal_high_s8(products, high, w));
  }
};

}  // namespace

extern const RowKernel kNeonFineKernel, kNeonRows16x4Kernel;
const RowKernel kNeonFineKernel = FineKernel<Product>(Isa::kNeon);
const RowKernel kNeonRows16x4Kernel = BlockRowKernel<Product>(Isa::kNeon);

}  // namespace qsparse
