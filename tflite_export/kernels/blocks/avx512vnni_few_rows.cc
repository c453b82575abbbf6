// AVX512-VNNI for few positions: a register holds 4 outputs of 4 positions.
//
// A block's 16 weights are loaded once for all positions, and nothing is computed
// for more than three positions that are not there.
#include <immintrin.h>

#include <algorithm>
#include <cstring>

#include "base/unroll.h"
#include "blocks/kernel.h"
#include "blocks/zmm.h"

namespace qsparse {
namespace {

constexpr int kLanes = 4;
constexpr int kMaxVectors = 3;
constexpr int kRegisterBytes = 64;
constexpr int kVectorBytes = kLanes * kBlock;
constexpr int kSets = 4;  // chains of additions in flight: blocks per iteration

void PackBlock(const int8_t* weights, int8_t* packed) {
  std::memcpy(packed, weights, kBlockWeights);
}

// In every 128 bits: element j of register i becomes element i of register j.
inline void Transpose4x4(__m512i (&r)[4]) {
  const __m512i low01 = _mm512_unpacklo_epi32(r[0], r[1]);
  const __m512i low23 = _mm512_unpacklo_epi32(r[2], r[3]);
  const __m512i high01 = _mm512_unpackhi_epi32(r[0], r[1]);
  const __m512i high23 = _mm512_unpackhi_epi32(r[2], r[3]);
  r[0] = _mm512_unpacklo_epi64(low01, low23);
  r[1] = _mm512_unpackhi_epi64(low01, low23);
  r[2] = _mm512_unpacklo_epi64(high01, high23);
  r[3] = _mm512_unpackhi_epi64(high01, high23);
}

inline __m128i Load128(const void* from) {
  return _mm_loadu_si128(static_cast<const __m128i*>(from));
}

inline void Store128(void* to, __m128i value) {
  _mm_storeu_si128(static_cast<__m128i*>(to), value);
}

template <int kPart>
inline void StorePart(const __m512i (&r)[4], int quads, uint8_t* out, size_t stride) {
  out += kPart * 4 * stride;
  QSPARSE_UNROLL
  for (int i = 0; i < 4; ++i, out += stride) {
    if (kPart * 4 + i < quads) Store128(out, _mm512_extracti32x4_epi32(r[i], kPart));
  }
}

void Pack(const PackArgs& a) {
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
      __m512i r[4];
      QSPARSE_UNROLL
      for (int i = 0; i < kLanes; ++i) {
        r[i] = _mm512_xor_si512(_mm512_maskz_loadu_epi8(mask, rows[i] + c), flip);
      }
      Transpose4x4(r);
      const int quads = (bytes + kBlock - 1) / kBlock;
      StorePart<0>(r, quads, out, a.plane_stride);
      StorePart<1>(r, quads, out, a.plane_stride);
      StorePart<2>(r, quads, out, a.plane_stride);
      StorePart<3>(r, quads, out, a.plane_stride);
      out += 16 * a.plane_stride;
    }
  }
}

// Element v of four becomes the whole of the 128 bits v.
inline __m512i Spread(__m128i outputs) {
  const __m512i index =
      _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
  return _mm512_permutexvar_epi32(index, _mm512_castsi128_si512(outputs));
}

// Clamped before the zero point is added, so that nothing can overflow.
struct Requantizer {
  explicit Requantizer(const ComputeArgs& a)
      : zero_point(_mm512_set1_epi32(a.zero_point)),
        min(_mm512_set1_epi32(a.min - a.zero_point)),
        max(_mm512_set1_epi32(a.max - a.zero_point)),
        flip(_mm_set1_epi8(static_cast<char>(a.flip))),
        transpose4x4(
            _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15)) {}

  // One dword of four outputs per position.
  __m128i operator()(__m512i acc, __m512 scale) const {
    const __m512i q = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_cvtepi32_ps(acc), scale));
    const __m512i clamped = _mm512_min_epi32(_mm512_max_epi32(q, min), max);
    const __m512i by_output = _mm512_add_epi32(clamped, zero_point);
    return _mm_xor_si128(
        _mm_shuffle_epi8(_mm512_cvtepi32_epi8(by_output), transpose4x4), flip);
  }

  __m512i zero_point, min, max;
  __m128i flip, transpose4x4;
};

// Lists end in one step with masked weights: a loop over what is left would be
// mispredicted in every group. It looks at up to `kSets` offsets past the end.
inline __mmask16 DwordsOf(ptrdiff_t blocks) {
  return static_cast<__mmask16>((1u << (blocks * 4)) - 1);
}

template <int kVectors>
inline void AddBlock(const uint8_t* x, __m128i weights, __m512i (&acc)[kVectors]) {
  const __m512i w = Spread(weights);
  QSPARSE_UNROLL
  for (int t = 0; t < kVectors; ++t) {
    const __m512i quads = _mm512_broadcast_i32x4(Load128(x + t * kVectorBytes));
    acc[t] = _mm512_dpbusd_epi32(acc[t], quads, w);
  }
}

template <int kVectors>
void ComputeVectors(const ComputeArgs& a) {
  const Requantizer requantize(a);
  const int32_t* offset = a.offsets + *a.list_begin;
  const int8_t* weights = a.weights + static_cast<size_t>(*a.list_begin) * kBlockWeights;
  for (int group = 0; group < a.groups; ++group) {
    const int32_t* const end = a.offsets + a.list_begin[group + 1];
    __m512i acc[kSets][kVectors];
    QSPARSE_UNROLL
    for (int t = 0; t < kVectors; ++t) {
      acc[0][t] = Spread(Load128(a.bias + group * kBlock));
      QSPARSE_UNROLL
      for (int s = 1; s < kSets; ++s) acc[s][t] = _mm512_setzero_si512();
    }
    QSPARSE_ROLLED
    for (; end - offset >= kSets; offset += kSets, weights += kSets * kBlockWeights) {
      QSPARSE_UNROLL
      for (int s = 0; s < kSets; ++s) {
        AddBlock(a.packed + offset[s], Load128(weights + s * kBlockWeights), acc[s]);
      }
    }
    const __mmask16 rest = DwordsOf(end - offset);
    QSPARSE_UNROLL
    for (int s = 0; s < kSets - 1; ++s) {
      const __m128i w = _mm_maskz_loadu_epi32(static_cast<__mmask8>(rest >> 4 * s),
                                              weights + s * kBlockWeights);
      AddBlock(a.packed + offset[s], w, acc[s]);
    }
    weights += (end - offset) * kBlockWeights;
    offset = end;
    const __m512 scale = _mm512_castsi512_ps(Spread(Load128(a.scale + group * kBlock)));
    uint8_t* out = a.out + group * a.out_stride;
    QSPARSE_UNROLL
    for (int t = 0; t < kVectors; ++t) {
      const __m512i sum = _mm512_add_epi32(_mm512_add_epi32(acc[0][t], acc[1][t]),
                                           _mm512_add_epi32(acc[2][t], acc[3][t]));
      Store128(out + t * kVectorBytes, requantize(sum, scale));
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

// Groups past the last are read from the scratch memory too, but not stored.
void Unpack(const UnpackArgs& a) {
  const __mmask64 mask = FirstBytes(a.bytes);
  const __m512i flip = _mm512_set1_epi8(static_cast<char>(a.flip));
  for (int p = 0; p < a.positions; p += kLanes) {
    const uint8_t* in = a.computed + static_cast<size_t>(p) * kBlock;
    __m512i r[4];
    QSPARSE_UNROLL
    for (int i = 0; i < 4; ++i, in += a.stride) {
      r[i] = _mm512_castsi128_si512(Load128(in));
      r[i] = _mm512_inserti32x4(r[i], Load128(in + 4 * a.stride), 1);
      r[i] = _mm512_inserti32x4(r[i], Load128(in + 8 * a.stride), 2);
      r[i] = _mm512_inserti32x4(r[i], Load128(in + 12 * a.stride), 3);
    }
    Transpose4x4(r);
    StoreRows<kLanes>(a, p, mask, flip, r);
  }
}

}  // namespace

extern const Kernel kAvx512VnniFewRowsKernel;
const Kernel kAvx512VnniFewRowsKernel = {
    "few_rows", Isa::kAvx512Vnni, /*max_rows=*/12, kLanes, kMaxVectors,
    /*quad_bytes=*/4, /*input_offset=*/128, kBlockWeights, /*masks_columns=*/false,
    /*rates=*/{140, 0, 70, 450, 250e3, 1.0},
    PackBlock, Pack, Pack, Compute, Unpack};

}  // namespace qsparse
