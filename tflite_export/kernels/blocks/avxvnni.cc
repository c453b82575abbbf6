// AVX-VNNI, the VNNI of CPUs without AVX-512: unsigned activations.
#include "blocks/ymm.h"

namespace qsparse {
namespace {

constexpr int kMaxVectors = 3;

void PackBlock(const int8_t* weights, int8_t* packed) {
  std::memcpy(packed, weights, kBlockWeights);
}

void Pack(const PackArgs& a) { PackQuads(a, 0x80); }

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
        a.weights + static_cast<size_t>(a.list_begin[group]) * kBlockWeights;
    QSPARSE_ROLLED
    for (; offset != end; ++offset, weights += kBlockWeights) {
      const uint8_t* x = a.packed + *offset;
      __m256i quads[kVectors];
      QSPARSE_UNROLL
      for (int t = 0; t < kVectors; ++t) {
        quads[t] = _mm256_loadu_si256(
            reinterpret_cast<const __m256i*>(x + t * kRegisterBytes));
      }
      QSPARSE_UNROLL
      for (int v = 0; v < kBlock; ++v) {
        int32_t quad;
        std::memcpy(&quad, weights + v * kBlock, sizeof(quad));
        const __m256i w = _mm256_set1_epi32(quad);
        // 12 accumulators, 3 positions and 1 weight fill the 16 registers: the
        // next weights must not be loaded before these are used up.
        __asm__ volatile("" ::: "memory");
        QSPARSE_UNROLL
        for (int t = 0; t < kVectors; ++t) {
          acc[t][v] = _mm256_dpbusd_avx_epi32(acc[t][v], quads[t], w);
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
  switch (a.vectors) {
    case 1:
      return ComputeVectors<1>(a);
    case 2:
      return ComputeVectors<2>(a);
    default:
      return ComputeVectors<kMaxVectors>(a);
  }
}

}  // namespace

extern const Kernel kAvxVnniKernel;
const Kernel kAvxVnniKernel = {
    "block_4x4", Isa::kAvxVnni, /*max_rows=*/0, kLanes, kMaxVectors, /*quad_bytes=*/4,
    /*input_offset=*/128, kBlockWeights, /*masks_columns=*/false,
    /*rates=*/{0, 250, 10, 550, 120e3, 1.1},
    PackBlock, Pack, Pack, Compute, Unpack};

}  // namespace qsparse
