// AVX-VNNI, any pattern: each of 8 outputs names four of 16 neighbouring channels.
//
// A shuffle brings a row's bytes to where their weights are. Three ports take
// 256-bit operations, of which shuffles and products ask for two each, so that
// unlike with 512 bits half of the weights being zero already pays.
#include "rows/ymm_rows.h"

namespace qsparse {
namespace {

constexpr int kWindow = 16;
constexpr int kKept = 4;

struct FineEntry {
  static constexpr int kBytes = 2 * kRegisterBytes;
  static constexpr int kRowBytes = kLineChannels;
  // Two entries a round: counting takes the place of products otherwise.
  static constexpr int kAtOnce = 2;

  explicit FineEntry(const uint8_t* bytes)
      : indices(LoadRegister(bytes)), weights(LoadRegister(bytes + kRegisterBytes)) {}

  __m256i Multiply(const uint8_t* x, __m256i acc) const {
    const __m256i chosen = _mm256_shuffle_epi8(LoadTwice(x), indices);
    return _mm256_dpbusd_avx_epi32(acc, chosen, weights);
  }

  __m256i indices, weights;
};

void PackEntry(const int8_t* weights, const uint8_t* indices, uint8_t* packed) {
  std::memcpy(packed, indices, kRegisterBytes);
  std::memcpy(packed + kRegisterBytes, weights, kRegisterBytes);
}

void PackRows(const PackArgs& a) {
  const __m256i flip = _mm256_set1_epi8(static_cast<char>(0x80));
  const auto flipped = [&](const int8_t* from, uint8_t* to) {
    QSPARSE_UNROLL
    for (int i = 0; i < kLineChannels; i += kRegisterBytes) {
      const __m256i bytes =
          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + i));
      _mm256_store_si256(reinterpret_cast<__m256i*>(to + i),
                         _mm256_xor_si256(bytes, flip));
    }
  };
  for (int p = 0; p < a.positions; ++p) {
    const int8_t* row = SourceRow(a, p);
    uint8_t* out = a.packed + static_cast<size_t>(p) * FineEntry::kRowBytes;
    int left = a.channels;
    for (; left >= kLineChannels; left -= kLineChannels, row += kLineChannels) {
      flipped(row, out);
      out += a.plane_stride;
    }
    if (left == 0) continue;
    int8_t tail[kLineChannels] = {};
    std::memcpy(tail, row, left);
    flipped(tail, out);
  }
}

}  // namespace

extern const RowKernel kAvxVnniFineKernel;
const RowKernel kAvxVnniFineKernel = {
    "fine", Isa::kAvxVnni, /*needs_vbmi=*/false, /*max_positions=*/0, kMaxRows,
    kOutputs, kWindow, /*run=*/kWindow, kKept, /*channel_bytes=*/1,
    /*input_offset=*/128, FineEntry::kBytes,
    /*rates=*/{80, 39, 14, 150, 120e3},
    PackEntry, PackRows, Compute<FineEntry>};

}  // namespace qsparse
