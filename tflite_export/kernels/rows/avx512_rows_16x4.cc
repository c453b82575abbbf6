// AVX512-VNNI, blocks of 16 outputs and 4 inputs: a register of weights is loaded
// once, and every row has its four inputs spread over all outputs by the load.
#include "rows/avx512_rows.h"

namespace qsparse {
namespace {

struct BlockEntry {
  static constexpr int kBytes = kRegisterBytes;

  explicit BlockEntry(const uint8_t* bytes) : weights(_mm512_loadu_si512(bytes)) {}

  __m512i Multiply(const uint8_t* x, __m512i acc) const {
    int32_t quad;
    std::memcpy(&quad, x, sizeof(quad));
    return _mm512_dpbusd_epi32(acc, _mm512_set1_epi32(quad), weights);
  }

  __m512i weights;
};

void PackEntry(const int8_t* weights, const uint8_t*, uint8_t* packed) {
  std::memcpy(packed, weights, BlockEntry::kBytes);
}

}  // namespace

extern const RowKernel kAvx512Rows16x4Kernel;
const RowKernel kAvx512Rows16x4Kernel = {
    "rows_16x4", Isa::kAvx512Vnni, /*needs_vbmi=*/false, /*max_positions=*/0, kMaxRows,
    kOutputs, /*window=*/4, /*run=*/4, /*kept=*/4, /*channel_bytes=*/1,
    /*input_offset=*/128, BlockEntry::kBytes,
    /*rates=*/{140, 80, 4, 900, 250e3},
    PackEntry, PackRows, Compute<BlockEntry>};

}  // namespace qsparse
