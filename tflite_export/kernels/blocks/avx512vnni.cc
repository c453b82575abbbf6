// AVX512-VNNI: 16 positions per register, unsigned activations.
#include <immintrin.h>

#include <algorithm>
#include <cstring>

#include "base/unroll.h"
#include "blocks/kernel.h"
#include "blocks/zmm.h"

namespace qsparse {
namespace {

constexpr int kLanes = 16;
constexpr int kMaxVectors = 6;
constexpr int kRegisterBytes = 64;

void PackBlock(const int8_t* weights, int8_t* packed) {
  std::memcpy(packed, weights, kBlockWeights);
}

// Images of few channels fill one plane: transposing would mostly move padding.
template <int kChannels>
void PackPixels(const PackArgs& a) {
  constexpr uint32_t kFlip = 0x80808080;
  for (int p = 0; p < a.positions; ++p) {
    const int32_t source = a.source[p];
    const int8_t* row =
        source < 0 ? a.pad_row : a.input + static_cast<size_t>(source) * kChannels;
    uint32_t quad = 0;
    std::memcpy(&quad, row, kChannels);
    quad ^= kFlip;
    std::memcpy(a.packed + static_cast<size_t>(p) * kBlock, &quad, kBlock);
  }
}

void Pack(const PackArgs& a) {
  switch (a.channels) {
    case 1:
      return PackPixels<1>(a);
    case 2:
      return PackPixels<2>(a);
    case 3:
      return PackPixels<3>(a);
    case 4:
      return PackPixels<4>(a);
  }
  const __m512i flip = _mm512_set1_epi8(static_cast<char>(0x80));
  for (int p = 0; p < a.positions; p += kLanes) {
    const int8_t* rows[kLanes];
    for (int i = 0; i < kLanes; ++i) {
      const int32_t source = a.source[p + i];
      rows[i] = source < 0 ? a.pad_row
                           : a.input + static_cast<size_t>(source) * a.channels;
    }
    uint8_t* out = a.packed + static_cast<size_t>(p) * kBlock;
    for (int c = 0; c < a.channels; c += kRegisterBytes) {
      const int bytes = std::min(kRegisterBytes, a.channels - c);
      const __mmask64 mask = FirstBytes(bytes);
      __m512i r[16];
      QSPARSE_UNROLL
      for (int i = 0; i < kLanes; ++i) {
        r[i] = _mm512_xor_si512(_mm512_maskz_loadu_epi8(mask, rows[i] + c), flip);
      }
      Transpose16x16(r);
      const int quads = (bytes + kBlock - 1) / kBlock;
      if (quads == kLanes) {
        QSPARSE_UNROLL
        for (int i = 0; i < kLanes; ++i, out += a.plane_stride) {
          _mm512_storeu_si512(out, r[i]);
        }
      } else {
        alignas(64) __m512i rest[16];
        for (int i = 0; i < kLanes; ++i) rest[i] = r[i];
        for (int i = 0; i < quads; ++i, out += a.plane_stride) {
          _mm512_storeu_si512(out, rest[i]);
        }
      }
    }
  }
}

// What requantization needs, in registers: the compiler must not reload it after
// every store, which could have changed it for all it knows.
struct Requantizer {
  explicit Requantizer(const ComputeArgs& a)
      : zero_point(_mm512_set1_epi16(a.zero_point)),
        min(_mm512_set1_epi8(a.min)),
        max(_mm512_set1_epi8(a.max)),
        flip(_mm512_set1_epi8(static_cast<char>(a.flip))),
        transpose4x4(_mm512_broadcast_i32x4(
            _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15))) {}

  // Four registers of one output each become dwords of four outputs. No product
  // leaves the range of int32 (see node_reader.cc), so saturation does the rest.
  __m512i operator()(const __m512i acc[kBlock], const __m512 scale[kBlock]) const {
    __m512i q[kBlock];
    QSPARSE_UNROLL
    for (int v = 0; v < kBlock; ++v) {
      q[v] = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_cvtepi32_ps(acc[v]), scale[v]));
    }
    const __m512i first =
        _mm512_adds_epi16(_mm512_packs_epi32(q[0], q[1]), zero_point);
    const __m512i second =
        _mm512_adds_epi16(_mm512_packs_epi32(q[2], q[3]), zero_point);
    const __m512i by_output = _mm512_min_epi8(
        _mm512_max_epi8(_mm512_packs_epi16(first, second), min), max);
    return _mm512_xor_si512(_mm512_shuffle_epi8(by_output, transpose4x4), flip);
  }

  __m512i zero_point, min, max, flip, transpose4x4;
};

// Which positions of a tile a kernel column sees; the others read padding.
template <int kVectors, bool kMasked>
struct Column {
  explicit Column(const ComputeArgs& a, int column)
      : padding(_mm512_set1_epi8(static_cast<char>(a.padding))) {
    QSPARSE_UNROLL
    for (int t = 0; t < kVectors; ++t) {
      inside[t] = kMasked ? a.masks[column * a.mask_stride + t] : 0;
    }
  }

  __m512i Load(const uint8_t* x, int t) const {
    const __m512i quads = _mm512_loadu_si512(x + t * kRegisterBytes);
    return kMasked ? _mm512_mask_blend_epi32(inside[t], padding, quads) : quads;
  }

  __m512i padding;
  __mmask16 inside[kVectors];
};

inline __m512i Broadcast(const int8_t* weights, int output) {
  int32_t quad;
  std::memcpy(&quad, weights + output * kBlock, sizeof(quad));
  return _mm512_set1_epi32(quad);
}

// Adds one block to the accumulators of `kVectors` registers of positions.
template <int kVectors, bool kMasked>
inline void AddBlock(const uint8_t* x, const Column<kVectors, kMasked>& column,
                     const int8_t* weights, __m512i (&acc)[kVectors][kBlock]) {
  __m512i w[kBlock];
  QSPARSE_UNROLL
  for (int v = 0; v < kBlock; ++v) w[v] = Broadcast(weights, v);
  QSPARSE_UNROLL
  for (int t = 0; t < kVectors; ++t) {
    const __m512i quads = column.Load(x, t);
    QSPARSE_UNROLL
    for (int v = 0; v < kBlock; ++v) {
      acc[t][v] = _mm512_dpbusd_epi32(acc[t][v], quads, w[v]);
    }
  }
}

// The last blocks of a group are added register by register, so that one is
// requantized while the others still multiply.
constexpr ptrdiff_t kTailBlocks = 2;

// The instruction takes 4 or 5 cycles and two can start per cycle: with few
// registers of positions, alternate blocks go to a second set of accumulators.
template <int kVectors, bool kMasked>
void ComputeVectors(const ComputeArgs& a) {
  constexpr int kSets = kVectors <= 2 ? 2 : 1;
  const Requantizer requantize(a);
  const uint32_t* list = a.list_begin;
  for (int group = 0; group < a.groups; ++group) {
    __m512i acc[kSets][kVectors][kBlock];
    QSPARSE_UNROLL
    for (int v = 0; v < kBlock; ++v) {
      const __m512i bias = _mm512_set1_epi32(a.bias[group * kBlock + v]);
      QSPARSE_UNROLL
      for (int t = 0; t < kVectors; ++t) {
        acc[0][t][v] = bias;
        if (kSets == 2) acc[kSets - 1][t][v] = _mm512_setzero_si512();
      }
    }
    const int32_t* offset = a.offsets + *list;
    const int8_t* weights = a.weights + static_cast<size_t>(*list) * kBlockWeights;
    const int last = kMasked ? a.columns - 1 : 0;
    QSPARSE_ROLLED
    for (int c = 0; c <= last; ++c) {
      const Column<kVectors, kMasked> column(a, c);
      const int32_t* const list_end = a.offsets + *++list;
      const int32_t* end = list_end;
      if (c == last) end -= std::min(kTailBlocks, list_end - offset);
      if (kSets == 2 && (end - offset) % 2 != 0) {
        AddBlock(a.packed + *offset, column, weights, acc[0]);
        ++offset;
        weights += kBlockWeights;
      }
      QSPARSE_ROLLED
      for (; offset != end; offset += kSets, weights += kSets * kBlockWeights) {
        QSPARSE_UNROLL
        for (int s = 0; s < kSets; ++s) {
          AddBlock(a.packed + offset[s], column, weights + s * kBlockWeights, acc[s]);
        }
      }
      if (c != last) continue;

      __m512 scale[kBlock];
      QSPARSE_UNROLL
      for (int v = 0; v < kBlock; ++v) {
        scale[v] = _mm512_set1_ps(a.scale[group * kBlock + v]);
      }
      uint8_t* out = a.out + group * a.out_stride;
      QSPARSE_UNROLL
      for (int t = 0; t < kVectors; ++t) {
        QSPARSE_UNROLL
        for (int v = 0; v < kBlock && kSets == 2; ++v) {
          acc[0][t][v] = _mm512_add_epi32(acc[0][t][v], acc[kSets - 1][t][v]);
        }
        const int8_t* w = weights;
        QSPARSE_ROLLED
        for (const int32_t* o = offset; o != list_end; ++o, w += kBlockWeights) {
          const __m512i quads = column.Load(a.packed + *o, t);
          QSPARSE_UNROLL
          for (int v = 0; v < kBlock; ++v) {
            acc[0][t][v] = _mm512_dpbusd_epi32(acc[0][t][v], quads, Broadcast(w, v));
          }
        }
        _mm512_store_si512(out + t * kRegisterBytes, requantize(acc[0][t], scale));
      }
    }
  }
}

template <bool kMasked>
void ComputeTile(const ComputeArgs& a) {
  switch (a.vectors) {
    case 1:
      return ComputeVectors<1, kMasked>(a);
    case 2:
      return ComputeVectors<2, kMasked>(a);
    case 3:
      return ComputeVectors<3, kMasked>(a);
    case 4:
      return ComputeVectors<4, kMasked>(a);
    case 5:
      return ComputeVectors<5, kMasked>(a);
    default:
      return ComputeVectors<kMaxVectors, kMasked>(a);
  }
}

void Compute(const ComputeArgs& a) {
  return a.masks == nullptr ? ComputeTile<false>(a) : ComputeTile<true>(a);
}

void Unpack(const UnpackArgs& a) {
  const __mmask64 mask = FirstBytes(a.bytes);
  const __m512i flip = _mm512_set1_epi8(static_cast<char>(a.flip));
  for (int p = 0; p < a.positions; p += kLanes) {
    const uint8_t* in = a.computed + static_cast<size_t>(p) * kBlock;
    __m512i r[16];
    if (a.groups == kGroupsPerBatch) {
      QSPARSE_UNROLL
      for (int i = 0; i < kLanes; ++i) r[i] = _mm512_load_si512(in + i * a.stride);
    } else {
      QSPARSE_UNROLL
      for (int i = 0; i < kLanes; ++i) {
        r[i] = i < a.groups ? _mm512_load_si512(in + i * a.stride)
                            : _mm512_setzero_si512();
      }
    }
    Transpose16x16(r);
    StoreRows<kLanes>(a, p, mask, flip, r);
  }
}

}  // namespace

extern const Kernel kAvx512VnniKernel;
const Kernel kAvx512VnniKernel = {
    "block_4x4", Isa::kAvx512Vnni, /*max_rows=*/0, kLanes, kMaxVectors,
    /*quad_bytes=*/4, /*input_offset=*/128, kBlockWeights, /*masks_columns=*/true,
    /*rates=*/{0, 400, 15, 450, 250e3, 1.12},
    PackBlock, Pack, Pack, Compute, Unpack};

}  // namespace qsparse
