// The kernel for CPUs without one of their own, and the readable reference.
//
// Activations are widened to 16 bits: sums of products of 16-bit pairs are what
// compilers turn into vector instructions on every CPU.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "blocks/kernel.h"

namespace qsparse {
namespace {

constexpr int kLanes = 16;
constexpr int kPair = 2;
constexpr int kBlockBytes = kBlockWeights * 2;

void PackBlock(const int8_t* weights, int8_t* packed) {
  int16_t wide[kBlockWeights];
  std::copy_n(weights, kBlockWeights, wide);
  std::memcpy(packed, wide, sizeof(wide));
}

void Pack(const PackArgs& a) {
  for (int p = 0; p < a.positions; ++p) {
    const int32_t source = a.source[p];
    const int8_t* row =
        source < 0 ? a.pad_row : a.input + static_cast<size_t>(source) * a.channels;
    uint8_t* out = a.packed + static_cast<size_t>(p) * kBlock;
    for (int c = 0; c < a.channels; c += kBlock) {
      int16_t quad[kBlock] = {};
      std::copy_n(row + c, std::min(kBlock, a.channels - c), quad);
      std::memcpy(out, quad, kPair * sizeof(int16_t));
      std::memcpy(out + a.plane_stride, quad + kPair, kPair * sizeof(int16_t));
      out += 2 * a.plane_stride;
    }
  }
}

void PackQuads(const PackArgs& a) {
  for (int p = 0; p < a.positions; ++p) {
    const int32_t source = a.source[p];
    const int8_t* row =
        source < 0 ? a.pad_row : a.input + static_cast<size_t>(source) * a.channels;
    uint8_t* out = a.packed + static_cast<size_t>(p) * kBlock;
    for (int c = 0; c < a.channels; c += kBlock, out += a.plane_stride) {
      int8_t quad[kBlock] = {};
      std::copy_n(row + c, std::min(kBlock, a.channels - c), quad);
      std::memcpy(out, quad, kBlock);
    }
  }
}

// acc += the products of one pair of inputs, for every position.
void AddPairs(const uint8_t* packed, int16_t w0, int16_t w1, int32_t* acc) {
  int16_t x[kLanes * kPair];
  std::memcpy(x, packed, sizeof(x));
  for (int lane = 0; lane < kLanes; ++lane) {
    // Wraps like the other kernels' accumulators do.
    acc[lane] = static_cast<int32_t>(
        static_cast<uint32_t>(acc[lane]) +
        static_cast<uint32_t>(x[lane * kPair] * w0 + x[lane * kPair + 1] * w1));
  }
}

void ComputeVector(const ComputeArgs& a, int group, const uint8_t* packed,
                   uint8_t* out) {
  int32_t acc[kBlock][kLanes];
  for (int v = 0; v < kBlock; ++v) {
    std::fill_n(acc[v], kLanes, a.bias[group * kBlock + v]);
  }
  for (uint32_t b = a.list_begin[group]; b < a.list_begin[group + 1]; ++b) {
    const uint8_t* x = packed + a.offsets[b];
    int16_t w[kBlock][kBlock];
    std::memcpy(w, a.weights + static_cast<size_t>(b) * kBlockBytes, sizeof(w));
    for (int v = 0; v < kBlock; ++v) {
      AddPairs(x, w[v][0], w[v][1], acc[v]);
      AddPairs(x + a.half_stride, w[v][2], w[v][3], acc[v]);
    }
  }
  for (int v = 0; v < kBlock; ++v) {
    const float scale = a.scale[group * kBlock + v];
    for (int lane = 0; lane < kLanes; ++lane) {
      const float scaled = static_cast<float>(acc[v][lane]) * scale;
      const int64_t value = std::llrint(scaled) + a.zero_point;
      out[lane * kBlock + v] =
          static_cast<uint8_t>(std::clamp<int64_t>(value, a.min, a.max)) ^ a.flip;
    }
  }
}

void Compute(const ComputeArgs& a) {
  for (int group = 0; group < a.groups; ++group) {
    for (int t = 0; t < a.vectors; ++t) {
      const size_t offset = static_cast<size_t>(t) * kLanes * kBlock;
      ComputeVector(a, group, a.packed + offset, a.out + group * a.out_stride + offset);
    }
  }
}

void Unpack(const UnpackArgs& a) {
  for (int p = 0; p < a.positions; ++p) {
    if (a.target[p] < 0) continue;
    int8_t* row = a.output + static_cast<size_t>(a.target[p]) * a.row_stride;
    const uint8_t* dword = a.computed + static_cast<size_t>(p) * kBlock;
    for (int done = 0; done < a.bytes; done += kBlock, dword += a.stride) {
      const int bytes = std::min(kBlock, a.bytes - done);
      for (int i = 0; i < bytes; ++i) {
        row[done + i] = static_cast<int8_t>(dword[i] ^ a.flip);
      }
    }
  }
}

}  // namespace

extern const Kernel kPortableKernel;
const Kernel kPortableKernel = {
    "block_4x4", Isa::kPortable, /*max_rows=*/0, kLanes, /*max_vectors=*/4,
    /*quad_bytes=*/8, /*input_offset=*/0, kBlockBytes, /*masks_columns=*/false,
    /*rates=*/{0, 64, 4, 60, 8e3, 1.0},
    PackBlock, Pack, PackQuads, Compute, Unpack};

}  // namespace qsparse
