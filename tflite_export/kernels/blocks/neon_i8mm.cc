// NEON with matrix products (i8mm): 2 positions x 8 channels by 8 channels x 2
// outputs. Any two blocks of a list make up the 8 channels: their quads are zipped
// as they are loaded.
#include "blocks/neon.h"

namespace qsparse {
namespace {

constexpr int kMaxVectors = 4;

void PackBlock(const int8_t* weights, int8_t* packed) {
  std::memcpy(packed, weights, kBlockWeights);
}

// The quads of two registers in turn: [x0 y0 x1 y1], [x2 y2 x3 y3].
struct Zipped {
  Zipped(int8x16_t x, int8x16_t y) {
    const int32x4x2_t both = vzipq_s32(vreinterpretq_s32_s8(x), vreinterpretq_s32_s8(y));
    low = vreinterpretq_s8_s32(both.val[0]);
    high = vreinterpretq_s8_s32(both.val[1]);
  }

  int8x16_t low, high;
};

// Two blocks become outputs (0, 1) and (2, 3) of eight channels each.
void PackList(int8_t* weights, size_t blocks) {
  for (; blocks >= 2; blocks -= 2, weights += 2 * kBlockWeights) {
    const Zipped w(vld1q_s8(weights), vld1q_s8(weights + kBlockWeights));
    vst1q_s8(weights, w.low);
    vst1q_s8(weights + kBlockWeights, w.high);
  }
}

// acc[t]: positions (0, 1) and (2, 3) of a vector by outputs (0, 1) and (2, 3).
template <int kVectors>
inline void AddPair(const int8_t* x, const int8_t* y, int8x16_t w01, int8x16_t w23,
                    int32x4_t (&acc)[kVectors][2][2]) {
  QSPARSE_UNROLL
  for (int t = 0; t < kVectors; ++t, x += kRegisterBytes, y += kRegisterBytes) {
    const Zipped quads(vld1q_s8(x), vld1q_s8(y));
    acc[t][0][0] = vmmlaq_s32(acc[t][0][0], quads.low, w01);
    acc[t][0][1] = vmmlaq_s32(acc[t][0][1], quads.low, w23);
    acc[t][1][0] = vmmlaq_s32(acc[t][1][0], quads.high, w01);
    acc[t][1][1] = vmmlaq_s32(acc[t][1][1], quads.high, w23);
  }
}

template <int kVectors>
void ComputeVectors(const ComputeArgs& a) {
  const int8_t* const packed = reinterpret_cast<const int8_t*>(a.packed);
  const Requantizer requantize(a);
  for (int group = 0; group < a.groups; ++group) {
    int32x4_t acc[kVectors][2][2];
    QSPARSE_UNROLL
    for (int outputs = 0; outputs < 2; ++outputs) {
      const int32x2_t bias = vld1_s32(a.bias + group * kBlock + 2 * outputs);
      QSPARSE_UNROLL
      for (int t = 0; t < kVectors; ++t) {
        acc[t][0][outputs] = acc[t][1][outputs] = vcombine_s32(bias, bias);
      }
    }
    const int32_t* offset = a.offsets + a.list_begin[group];
    const int32_t* const end = a.offsets + a.list_begin[group + 1];
    const int8_t* weights =
        a.weights + static_cast<size_t>(a.list_begin[group]) * kBlockWeights;
    const int32_t* const pairs_end = end - (end - offset) % 2;
    QSPARSE_ROLLED
    for (; offset != pairs_end; offset += 2, weights += 2 * kBlockWeights) {
      AddPair(packed + offset[0], packed + offset[1], vld1q_s8(weights),
              vld1q_s8(weights + kBlockWeights), acc);
    }
    if (offset != end) {  // the last of an odd list meets a block of zeros
      const Zipped w(vld1q_s8(weights), vdupq_n_s8(0));
      AddPair(packed + offset[0], packed + offset[0], w.low, w.high, acc);
    }
    const float32x4_t scale = vld1q_f32(a.scale + group * kBlock);
    uint8_t* out = a.out + group * a.out_stride;
    QSPARSE_UNROLL
    for (int t = 0; t < kVectors; ++t) {
      int32x4_t by_output[kBlock];
      QSPARSE_UNROLL
      for (int outputs = 0; outputs < 2; ++outputs) {
        const int32x4x2_t split = vuzpq_s32(acc[t][0][outputs], acc[t][1][outputs]);
        by_output[2 * outputs] = split.val[0];
        by_output[2 * outputs + 1] = split.val[1];
      }
      vst1q_u8(out + t * kRegisterBytes,
               vreinterpretq_u8_s8(requantize(by_output, scale)));
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

extern const Kernel kNeonI8mmKernel;
const Kernel kNeonI8mmKernel = {
    "block_4x4", Isa::kNeonI8mm, /*max_rows=*/0, kLanes, kMaxVectors,
    /*quad_bytes=*/4, /*input_offset=*/0, /*block_bytes=*/kBlockWeights,
    /*masks_columns=*/false,
    /*rates=*/{0, 130, 40, 540, 60e3, 1.1},
    PackBlock, Pack, Pack, Compute, Unpack, /*narrow_weights=*/false, PackList};

}  // namespace qsparse
