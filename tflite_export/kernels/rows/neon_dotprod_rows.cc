// NEON dot product, layers that blocks of 4x4 cannot serve.
//
// i8mm has nothing better for them: a matrix product wants the same channels for
// two outputs.
#include "rows/neon_rows.h"

namespace qsparse {
namespace {

struct Product {
  static constexpr int kFineRows = 10;
  static constexpr int kBlockRows = 5;
  static constexpr bool kNarrowWeights = false;
  // Instructions of an entry and tile, and of an entry and row.
  static constexpr double kFineEntryCost = 7, kFineRowCost = 5;
  static constexpr double kBlockEntryCost = 7, kBlockRowCost = 5;

  static void Order(const uint8_t* bytes, int count, uint8_t* packed) {
    std::memcpy(packed, bytes, count);
  }

  static int32x4_t Add(int32x4_t acc, int8x16_t x, int8x16_t w) {
    return vdotq_s32(acc, x, w);
  }

  template <int kVectors>
  static void AddBlock(int32x4_t quad, const int8x16_t (&weights)[kVectors],
                       int32x4_t (&acc)[kVectors]) {
    QSPARSE_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      acc[v] = vdotq_laneq_s32(acc[v], weights[v], vreinterpretq_s8_s32(quad), 0);
    }
  }
};

}  // namespace

extern const RowKernel kNeonDotprodFineKernel, kNeonDotprodRows16x4Kernel;
extern const RowKernel kNeonI8mmFineKernel, kNeonI8mmRows16x4Kernel;
const RowKernel kNeonDotprodFineKernel = FineKernel<Product>(Isa::kNeonDotprod);
const RowKernel kNeonDotprodRows16x4Kernel = BlockRowKernel<Product>(Isa::kNeonDotprod);
const RowKernel kNeonI8mmFineKernel = FineKernel<Product>(Isa::kNeonI8mm);
const RowKernel kNeonI8mmRows16x4Kernel = BlockRowKernel<Product>(Isa::kNeonI8mm);

}  // namespace qsparse
