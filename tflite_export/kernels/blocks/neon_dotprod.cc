// NEON dot product: a register of activations is 4 positions, a register of
// weights is a whole block, one lane per output.
#include "blocks/neon.h"

namespace qsparse {
namespace {

constexpr int kMaxVectors = 4;

void PackBlock(const int8_t* weights, int8_t* packed) {
  std::memcpy(packed, weights, kBlockWeights);
}

template <int kVectors>
void ComputeVectors(const ComputeArgs& a) {
  const Requantizer requantize(a);
  for (int group = 0; group < a.groups; ++group) {
    int32x4_t acc[kVectors][kBlock];
    QSPARSE_UNROLL
    for (int v = 0; v < kBlock; ++v) {
      const int32x4_t bias = vld1q_dup_s32(a.bias + group * kBlock + v);
      QSPARSE_UNROLL
      for (int t = 0; t < kVectors; ++t) acc[t][v] = bias;
    }
    const int32_t* offset = a.offsets + a.list_begin[group];
    const int32_t* const end = a.offsets + a.list_begin[group + 1];
    const int8_t* weights =
        a.weights + static_cast<size_t>(a.list_begin[group]) * kBlockWeights;
    QSPARSE_ROLLED
    for (; offset != end; ++offset, weights += kBlockWeights) {
      const int8_t* x = reinterpret_cast<const int8_t*>(a.packed) + *offset;
      const int8x16_t w = vld1q_s8(weights);
      int8x16_t quads[kVectors];
      QSPARSE_UNROLL
      for (int t = 0; t < kVectors; ++t) quads[t] = vld1q_s8(x + t * kRegisterBytes);
      QSPARSE_UNROLL
      for (int t = 0; t < kVectors; ++t) {
        acc[t][0] = vdotq_laneq_s32(acc[t][0], quads[t], w, 0);
        acc[t][1] = vdotq_laneq_s32(acc[t][1], quads[t], w, 1);
        acc[t][2] = vdotq_laneq_s32(acc[t][2], quads[t], w, 2);
        acc[t][3] = vdotq_laneq_s32(acc[t][3], quads[t], w, 3);
      }
    }
    const float32x4_t scale = vld1q_f32(a.scale + group * kBlock);
    uint8_t* out = a.out + group * a.out_stride;
    QSPARSE_UNROLL
    for (int t = 0; t < kVectors; ++t) {
      vst1q_u8(out + t * kRegisterBytes,
               vreinterpretq_u8_s8(requantize(acc[t], scale)));
    }
  }
}

void Compute(const ComputeArgs& a) {
  switch (a.vectors) {
    case 1:
      return ComputeVectors<1>(a);
    case 2:
      return ComputeVectors<2>(a);
    case 3:
      return ComputeVectors<3>(a);
    default:
      return ComputeVectors<kMaxVectors>(a);
  }
}

}  // namespace

extern const Kernel kNeonDotprodKernel;
const Kernel kNeonDotprodKernel = {
    "block_4x4", Isa::kNeonDotprod, /*max_rows=*/0, kLanes, kMaxVectors,
    /*quad_bytes=*/4, /*input_offset=*/0, /*block_bytes=*/kBlockWeights,
    /*masks_columns=*/false,
    /*rates=*/{0, 130, 25, 400, 44e3, 1.1},
    PackBlock, Pack, Pack, Compute, Unpack};

}  // namespace qsparse
