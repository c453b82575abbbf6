// The row kernel for CPUs without one of their own, and the readable reference.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "rows/row_kernel.h"

namespace qsparse {
namespace {

constexpr int kOutputs = 4;
constexpr int kKept = 4;
constexpr int kWeights = kOutputs * kKept;

void PackEntry(const int8_t* weights, const uint8_t* indices, uint8_t* packed) {
  std::memcpy(packed, weights, kWeights);
  std::memcpy(packed + kWeights, indices, kWeights);
}

void Pack(const PackArgs& a) {
  for (int p = 0; p < a.positions; ++p) {
    const int32_t source = a.source[p];
    const int8_t* row =
        source < 0 ? a.pad_row : a.input + static_cast<size_t>(source) * a.channels;
    uint8_t* out = a.packed + static_cast<size_t>(p) * kLineChannels;
    for (int c = 0; c < a.channels; c += kLineChannels, out += a.plane_stride) {
      std::memcpy(out, row + c, std::min(kLineChannels, a.channels - c));
    }
  }
}

void ComputeRow(const RowArgs& a, int group, const uint8_t* packed, int8_t* out) {
  // Unsigned, so that sums wrap like the accumulators of the other kernels.
  uint32_t acc[kOutputs];
  std::copy_n(a.bias + group * kOutputs, kOutputs, acc);
  const int32_t* offset = a.offsets + a.offset_begin[group];
  for (uint32_t i = a.list_begin[group]; i < a.list_begin[group + 1]; ++i) {
    const uint8_t* x = packed + *offset++;
    const uint8_t* entry = a.entries + static_cast<size_t>(i) * 2 * kWeights;
    for (int j = 0; j < kWeights; ++j) {
      acc[j / kKept] += static_cast<uint32_t>(static_cast<int8_t>(entry[j]) *
                                              static_cast<int8_t>(x[entry[kWeights + j]]));
    }
  }
  const int count = std::min(kOutputs, a.outputs - group * kOutputs);
  for (int o = 0; o < count; ++o) {
    const float sum = static_cast<float>(static_cast<int32_t>(acc[o]));
    const int64_t value =
        std::llrint(sum * a.scale[group * kOutputs + o]) + a.zero_point;
    out[group * kOutputs + o] =
        static_cast<int8_t>(std::clamp<int64_t>(value, a.min, a.max));
  }
}

void Compute(const RowArgs& a) {
  for (int group = 0; group < a.groups; ++group) {
    for (int m = 0; m < a.rows; ++m) {
      if (a.target[m] < 0) continue;
      ComputeRow(a, group, a.packed + static_cast<size_t>(m) * kLineChannels,
                 a.output + static_cast<size_t>(a.target[m]) * a.row_stride);
    }
  }
}

}  // namespace

extern const RowKernel kPortableFineKernel;
const RowKernel kPortableFineKernel = {
    "fine", Isa::kPortable, /*needs_vbmi=*/false, /*max_positions=*/0, /*max_rows=*/8,
    kOutputs, /*window=*/64, /*run=*/64, kKept, /*channel_bytes=*/1, /*input_offset=*/0,
    2 * kWeights,
    /*rates=*/{16, 64, 60, 20, 8e3},
    PackEntry, Pack, Compute};

}  // namespace qsparse
