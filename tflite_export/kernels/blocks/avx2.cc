// AVX2: without VNNI the only exact product is the one of 16-bit pairs, so
// activations and weights are widened when they are packed.
#include "blocks/ymm.h"

namespace qsparse {
namespace {

constexpr int kMaxVectors = 2;
constexpr int kBlockBytes = kBlockWeights * 2;

// Pairs (0,1) of all four outputs, then pairs (2,3).
void PackBlock(const int8_t* weights, int8_t* packed) {
  int16_t wide[kBlockWeights];
  for (int v = 0; v < kBlock; ++v) {
    for (int k = 0; k < kBlock; ++k) {
      wide[(k / 2) * 2 * kBlock + v * 2 + k % 2] = weights[v * kBlock + k];
    }
  }
  std::memcpy(packed, wide, sizeof(wide));
}

void Pack(const PackArgs& a) {
  constexpr int kStep = 16;  // channels per round: 8 pairs of 16-bit values
  for (int p = 0; p < a.positions; p += kLanes) {
    uint8_t* out = a.packed + static_cast<size_t>(p) * kBlock;
    for (int c = 0; c < a.channels; c += kStep) {
      const int channels = std::min(kStep, a.channels - c);
      const __m128i mask = _mm256_castsi256_si128(FirstDwords(channels));
      __m256i r[8];
      QSPARSE_UNROLL
      for (int i = 0; i < kLanes; ++i) {
        const int8_t* row = SourceRow(a, p + i) + c;
        __m128i bytes;
        if (channels % kBlock == 0) {
          bytes = _mm_maskload_epi32(reinterpret_cast<const int*>(row), mask);
        } else {
          alignas(16) int8_t tail[kStep] = {};
          std::memcpy(tail, row, channels);
          bytes = _mm_load_si128(reinterpret_cast<const __m128i*>(tail));
        }
        r[i] = _mm256_cvtepi8_epi16(bytes);
      }
      Transpose8x8(r);
      alignas(32) uint8_t pairs[kLanes][kRegisterBytes];
      QSPARSE_UNROLL
      for (int i = 0; i < kLanes; ++i) {
        _mm256_store_si256(reinterpret_cast<__m256i*>(pairs[i]), r[i]);
      }
      const int planes = (channels + kBlock - 1) / kBlock * 2;
      for (int i = 0; i < planes; ++i, out += a.plane_stride) {
        std::memcpy(out, pairs[i], kRegisterBytes);
      }
    }
  }
}

void PackInt8(const PackArgs& a) { PackQuads(a, 0); }

template <int kVectors>
void ComputeVectors(const ComputeArgs& a) {
  for (int group = 0; group < a.groups; ++group) {
    __m256i acc[kVectors][kBlock];
    QSPARSE_UNROLL
    for (int v = 0; v < kBlock; ++v) {
      const __m256i bias = _mm256_set1_epi32(a.bias[group * kBlock + v]);
      QSPARSE_UNROLL
      for (int t = 0; t < kVectors; ++t) acc[t][v] = bias;
    }
    const int32_t* offset = a.offsets + a.list_begin[group];
    const int32_t* end = a.offsets + a.list_begin[group + 1];
    const int8_t* weights =
        a.weights + static_cast<size_t>(a.list_begin[group]) * kBlockBytes;
    QSPARSE_ROLLED
    for (; offset != end; ++offset, weights += kBlockBytes) {
      const uint8_t* x = a.packed + *offset;
      QSPARSE_UNROLL
      for (int half = 0; half < 2; ++half, x += a.half_stride) {
        __m256i pairs[kVectors];
        QSPARSE_UNROLL
        for (int t = 0; t < kVectors; ++t) {
          pairs[t] = _mm256_loadu_si256(
              reinterpret_cast<const __m256i*>(x + t * kRegisterBytes));
        }
        QSPARSE_UNROLL
        for (int v = 0; v < kBlock; ++v) {
          int32_t pair;
          std::memcpy(&pair, weights + (half * kBlock + v) * 4, sizeof(pair));
          const __m256i w = _mm256_set1_epi32(pair);
          QSPARSE_UNROLL
          for (int t = 0; t < kVectors; ++t) {
            acc[t][v] = _mm256_add_epi32(acc[t][v], _mm256_madd_epi16(pairs[t], w));
          }
        }
      }
    }
    uint8_t* out = a.out + group * a.out_stride;
    QSPARSE_UNROLL
    for (int t = 0; t < kVectors; ++t) {
      _mm256_store_si256(reinterpret_cast<__m256i*>(out + t * kRegisterBytes),
                         Requantize(acc[t], a.scale + group * kBlock, a));
    }
  }
}

void Compute(const ComputeArgs& a) {
  if (a.vectors == 1) return ComputeVectors<1>(a);
  ComputeVectors<kMaxVectors>(a);
}

}  // namespace

extern const Kernel kAvx2Kernel;
const Kernel kAvx2Kernel = {
    "block_4x4", Isa::kAvx2, /*max_rows=*/0, kLanes, kMaxVectors, /*quad_bytes=*/8,
    /*input_offset=*/0, kBlockBytes, /*masks_columns=*/false,
    /*rates=*/{0, 160, 8, 350, 60e3, 1.1},
    PackBlock, Pack, PackInt8, Compute, Unpack};

}  // namespace qsparse
