// AVX2, any pattern: each of 8 outputs names two of 8 neighbouring channels, which
// are 16 bits wide because the only exact product is the one of 16-bit pairs.
#include "rows/ymm_rows.h"

namespace qsparse {
namespace {

constexpr int kWindow = 8;
constexpr int kKept = 2;
constexpr int kChannelBytes = 2;

struct FineEntry {
  static constexpr int kBytes = 2 * kRegisterBytes;
  static constexpr int kRowBytes = kLineChannels * kChannelBytes;
  static constexpr int kAtOnce = 1;

  explicit FineEntry(const uint8_t* bytes)
      : indices(LoadRegister(bytes)), weights(LoadRegister(bytes + kRegisterBytes)) {}

  __m256i Multiply(const uint8_t* x, __m256i acc) const {
    const __m256i chosen = _mm256_shuffle_epi8(LoadTwice(x), indices);
    return _mm256_add_epi32(acc, _mm256_madd_epi16(chosen, weights));
  }

  __m256i indices, weights;
};

void PackEntry(const int8_t* weights, const uint8_t* indices, uint8_t* packed) {
  for (int i = 0; i < kOutputs * kKept; ++i) {
    packed[2 * i] = static_cast<uint8_t>(kChannelBytes * indices[i]);
    packed[2 * i + 1] = static_cast<uint8_t>(kChannelBytes * indices[i] + 1);
    const int16_t wide = weights[i];
    std::memcpy(packed + kRegisterBytes + 2 * i, &wide, sizeof(wide));
  }
}

void PackRows(const PackArgs& a) {
  const auto widened = [](const int8_t* from, uint8_t* to) {
    QSPARSE_UNROLL
    for (int i = 0; i < kLineChannels; i += kHalfBytes) {
      const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i));
      _mm256_store_si256(reinterpret_cast<__m256i*>(to + kChannelBytes * i),
                         _mm256_cvtepi8_epi16(bytes));
    }
  };
  for (int p = 0; p < a.positions; ++p) {
    const int8_t* row = SourceRow(a, p);
    uint8_t* out = a.packed + static_cast<size_t>(p) * FineEntry::kRowBytes;
    int left = a.channels;
    for (; left >= kLineChannels; left -= kLineChannels, row += kLineChannels) {
      widened(row, out);
      out += a.plane_stride;
    }
    if (left == 0) continue;
    int8_t tail[kLineChannels] = {};
    std::memcpy(tail, row, left);
    widened(tail, out);
  }
}

}  // namespace

extern const RowKernel kAvx2FineKernel;
const RowKernel kAvx2FineKernel = {
    "fine", Isa::kAvx2, /*needs_vbmi=*/false, /*max_positions=*/0, kMaxRows, kOutputs,
    kWindow, /*run=*/kWindow, kKept, kChannelBytes, /*input_offset=*/0,
    FineEntry::kBytes,
    /*rates=*/{50, 18, 14, 450, 60e3},
    PackEntry, PackRows, Compute<FineEntry>};

}  // namespace qsparse
