// AVX512-VNNI with VBMI, any pattern: each of 16 outputs names four of 64 channels.
//
// One shuffle brings a row's bytes to where their weights are. It reads the row
// from memory, so that no register holds activations and the loop is flat: which
// window an entry belongs to does not matter.
#include "rows/avx512_rows.h"

namespace qsparse {
namespace {

constexpr int kKept = 4;

struct FineEntry {
  static constexpr int kBytes = 2 * kRegisterBytes;

  explicit FineEntry(const uint8_t* bytes)
      : indices(_mm512_load_si512(bytes)),
        weights(_mm512_load_si512(bytes + kRegisterBytes)) {}

  __m512i Multiply(const uint8_t* x, __m512i acc) const {
    const __m512i chosen = _mm512_permutexvar_epi8(indices, _mm512_load_si512(x));
    return _mm512_dpbusd_epi32(acc, chosen, weights);
  }

  __m512i indices, weights;
};

void PackEntry(const int8_t* weights, const uint8_t* indices, uint8_t* packed) {
  std::memcpy(packed, indices, kRegisterBytes);
  std::memcpy(packed + kRegisterBytes, weights, kRegisterBytes);
}

}  // namespace

// Intel shuffles and multiplies one register per cycle, AMD one and a half.
extern const RowKernel kAvx512FineKernel;
const RowKernel kAvx512FineKernel = {
    "fine", Isa::kAvx512Vnni, /*needs_vbmi=*/true, /*max_positions=*/0, kMaxRows,
    kOutputs, /*window=*/64, /*run=*/64, kKept, /*channel_bytes=*/1,
    /*input_offset=*/128, FineEntry::kBytes,
    /*rates=*/{240, 105, 4, 900, 250e3, /*row_on_intel=*/150},
    PackEntry, PackRows, Compute<FineEntry>};

}  // namespace qsparse
