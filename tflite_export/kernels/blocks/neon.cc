// NEON of ARMv8.0: 8-bit products are summed in pairs in 16 bits, which holds two
// of them as long as no weight is -128, and then added to 32-bit sums.
#include "blocks/neon.h"

namespace qsparse {
namespace {

constexpr int kMaxVectors = 2;
// A register of products holds two positions, each as two sums of two channels.
constexpr int kHalves = 2;
constexpr int kHalfBytes = kRegisterBytes / kHalves;
constexpr int kBlockBytes = kBlock * kHalfBytes;

// Every quad twice, once for each of two positions.
void PackBlock(const int8_t* weights, int8_t* packed) {
  for (int i = 0; i < kBlockBytes; ++i) {
    packed[i] = weights[i / kHalfBytes * kBlock + i % kBlock];
  }
}

// The quads of two blocks in turn, so that one instruction loads both.
void PackList(int8_t* weights, size_t blocks) {
  for (; blocks >= 2; blocks -= 2, weights += 2 * kBlockBytes) {
    int8_t first[kBlockBytes], second[kBlockBytes];
    std::memcpy(first, weights, kBlockBytes);
    std::memcpy(second, weights + kBlockBytes, kBlockBytes);
    for (int v = 0; v < kBlock; ++v) {
      int8_t* out = weights + v * 2 * kHalfBytes;
      std::memcpy(out, first + v * kHalfBytes, kHalfBytes);
      std::memcpy(out + kHalfBytes, second + v * kHalfBytes, kHalfBytes);
    }
  }
}

// 16 sums, 8 registers of positions, 2 of weights and 4 of products: the products
// of the next output must not be begun before these are added.
inline void Finish(int32x4_t (&acc)[2]) { __asm__ volatile("" : "+w"(acc[0]), "+w"(acc[1])); }

inline void Finish(int32x4_t (&acc)[4]) {
  __asm__ volatile("" : "+w"(acc[0]), "+w"(acc[1]), "+w"(acc[2]), "+w"(acc[3]));
}

template <int kVectors>
void ComputeVectors(const ComputeArgs& a) {
  constexpr int kRegisters = kVectors * kHalves;
  const int8_t* const packed = reinterpret_cast<const int8_t*>(a.packed);
  const Requantizer requantize(a);
  for (int group = 0; group < a.groups; ++group) {
    int32x4_t acc[kBlock][kRegisters];
    QSPARSE_UNROLL
    for (int v = 0; v < kBlock; ++v) {
      QSPARSE_UNROLL
      for (int t = 0; t < kRegisters; ++t) acc[v][t] = vdupq_n_s32(0);
    }
    const int32_t* offset = a.offsets + a.list_begin[group];
    const int32_t* const end = a.offsets + a.list_begin[group + 1];
    const int8_t* weights =
        a.weights + static_cast<size_t>(a.list_begin[group]) * kBlockBytes;
    const int32_t* const pairs_end = end - (end - offset) % 2;
    QSPARSE_ROLLED
    for (; offset != pairs_end; offset += 2) {
      int8x8_t x[kRegisters], y[kRegisters];
      QSPARSE_UNROLL
      for (int t = 0; t < kRegisters; ++t) {
        x[t] = vld1_s8(packed + offset[0] + t * kHalfBytes);
        y[t] = vld1_s8(packed + offset[1] + t * kHalfBytes);
      }
      QSPARSE_UNROLL
      for (int v = 0; v < kBlock; ++v, weights += 2 * kHalfBytes) {
        const int8x8_t w = vld1_s8(weights);
        const int8x8_t u = vld1_s8(weights + kHalfBytes);
        QSPARSE_UNROLL
        for (int t = 0; t < kRegisters; ++t) {
          acc[v][t] = vpadalq_s16(acc[v][t], vmlal_s8(vmull_s8(x[t], w), y[t], u));
        }
        Finish(acc[v]);
      }
    }
    if (offset != end) {
      QSPARSE_UNROLL
      for (int v = 0; v < kBlock; ++v) {
        const int8x8_t w = vld1_s8(weights + v * kHalfBytes);
        QSPARSE_UNROLL
        for (int t = 0; t < kRegisters; ++t) {
          const int8x8_t x = vld1_s8(packed + offset[0] + t * kHalfBytes);
          acc[v][t] = vpadalq_s16(acc[v][t], vmull_s8(x, w));
        }
      }
    }
    const float32x4_t scale = vld1q_f32(a.scale + group * kBlock);
    uint8_t* out = a.out + group * a.out_stride;
    QSPARSE_UNROLL
    for (int t = 0; t < kVectors; ++t) {
      int32x4_t sum[kBlock];
      QSPARSE_UNROLL
      for (int v = 0; v < kBlock; ++v) {
        sum[v] = vaddq_s32(vpaddq_s32(acc[v][kHalves * t], acc[v][kHalves * t + 1]),
                           vld1q_dup_s32(a.bias + group * kBlock + v));
      }
      vst1q_u8(out + t * kRegisterBytes,
               vreinterpretq_u8_s8(requantize(sum, scale)));
    }
  }
}

void Compute(const ComputeArgs& a) {
  if (a.vectors == 1) return ComputeVectors<1>(a);
  ComputeVectors<kMaxVectors>(a);
}

}  // namespace

extern const Kernel kNeonKernel;
const Kernel kNeonKernel = {
    "block_4x4", Isa::kNeon, /*max_rows=*/0, kLanes, kMaxVectors, /*quad_bytes=*/4,
    /*input_offset=*/0, kBlockBytes, /*masks_columns=*/false,
    /*rates=*/{0, 80, 18, 150, 16e3, 1.1},
    PackBlock, Pack, Pack, Compute, Unpack, /*narrow_weights=*/true, PackList};

}  // namespace qsparse
