// AVX512-VNNI: products of unsigned by signed bytes, 16 columns per register.
#include <immintrin.h>

#include "base/unroll.h"
#include "blocks/zmm.h"
#include "matmul/matmul_pack.h"

namespace qsparse {
namespace {

constexpr int kLanes = 16;
constexpr int kRows = 6;
constexpr int kMaxVectors = 4;
constexpr int kRegisterBytes = 64;
constexpr int kUnit = Unit<Flipped>();

inline __mmask16 FirstLanes(int32_t count) {
  return static_cast<__mmask16>(count >= kLanes ? 0xffff : (1u << count) - 1);
}

void PackLeftSide(const MatmulSide& s) {
  if (s.depth_stride != 1) return PackLeft<Flipped>(s);
  const __m512i flip = _mm512_set1_epi8(static_cast<char>(0x80));
  const __m512i ones = _mm512_set1_epi8(1);
  const int32_t padded = (s.depth + kUnit - 1) / kUnit * kUnit;
  for (int32_t i = 0; i < s.count; ++i) {
    const int8_t* const row = s.data + static_cast<size_t>(i) * s.stride;
    uint8_t* const out = s.packed + static_cast<size_t>(i) * padded;
    __m512i sum = _mm512_setzero_si512();
    for (int32_t k = 0; k < s.depth; k += kRegisterBytes) {
      const __m512i values = _mm512_maskz_loadu_epi8(FirstBytes(s.depth - k), row + k);
      sum = _mm512_dpbusd_epi32(sum, ones, values);
      _mm512_mask_storeu_epi8(out + k, FirstBytes(padded - k),
                              _mm512_xor_si512(values, flip));
    }
    s.bias[i] = LeftBias(s, _mm512_reduce_add_epi32(sum));
  }
}

// Columns that lie next to each other: four lines of depth become 16 quads at a time.
__m512i PackLines(const MatmulSide& s, int32_t n, uint8_t* out) {
  const __m512i dwords = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7,
                                           11, 15);
  const __m512i bytes = _mm512_broadcast_i32x4(
      _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
  const __m512i ones = _mm512_set1_epi8(1);
  const __mmask16 columns = FirstLanes(s.count - n);
  __m512i sum = _mm512_setzero_si512();
  for (int32_t k = 0; k < s.depth; k += kUnit, out += kRegisterBytes) {
    const int8_t* const line = s.data + static_cast<size_t>(k) * s.depth_stride + n;
    const auto load = [&](int32_t j) {
      const __mmask16 mask = k + j < s.depth ? columns : __mmask16{0};
      return _mm_maskz_loadu_epi8(mask, mask == 0 ? line : line + j * s.depth_stride);
    };
    __m512i lines = _mm512_castsi128_si512(load(0));
    lines = _mm512_inserti32x4(lines, load(1), 1);
    lines = _mm512_inserti32x4(lines, load(2), 2);
    lines = _mm512_inserti32x4(lines, load(3), 3);
    const __m512i quads =
        _mm512_shuffle_epi8(_mm512_permutexvar_epi32(dwords, lines), bytes);
    sum = _mm512_dpbusd_epi32(sum, ones, quads);
    _mm512_store_si512(out, quads);
  }
  return sum;
}

// Columns whose values lie next to each other.
__m512i PackColumns(const MatmulSide& s, int32_t n, uint8_t* out) {
  const __m512i ones = _mm512_set1_epi8(1);
  const int32_t columns = s.count - n;
  __m512i sum = _mm512_setzero_si512();
  for (int32_t k = 0; k < s.depth; k += kRegisterBytes) {
    const __mmask64 mask = FirstBytes(s.depth - k);
    const int8_t* const from = s.data + static_cast<size_t>(n) * s.stride + k;
    __m512i r[kLanes];
    QSPARSE_UNROLL
    for (int i = 0; i < kLanes; ++i) {
      const bool inside = i < columns;
      r[i] = _mm512_maskz_loadu_epi8(inside ? mask : 0,
                                     inside ? from + i * s.stride : from);
    }
    Transpose16x16(r);
    const int32_t dwords = std::min(kLanes, (s.depth - k + kUnit - 1) / kUnit);
    alignas(kRegisterBytes) __m512i quads[kLanes];
    QSPARSE_UNROLL
    for (int i = 0; i < kLanes; ++i) quads[i] = r[i];
    for (int32_t i = 0; i < dwords; ++i, out += kRegisterBytes) {
      sum = _mm512_dpbusd_epi32(sum, ones, quads[i]);
      _mm512_store_si512(out, quads[i]);
    }
  }
  return sum;
}

void PackRightSide(const MatmulSide& s) {
  const __m512i both = _mm512_set1_epi32(s.depth * s.zero_point * s.other_zero_point);
  const __m512i factor = _mm512_set1_epi32(s.other_zero_point + 128);
  const size_t panel =
      static_cast<size_t>((s.depth + kUnit - 1) / kUnit) * kRegisterBytes;
  uint8_t* out = s.packed;
  for (int32_t n = 0; n < s.count; n += kLanes, out += panel) {
    const __m512i sum = s.stride == 1 ? PackLines(s, n, out) : PackColumns(s, n, out);
    _mm512_storeu_si512(s.bias + n,
                        _mm512_sub_epi32(both, _mm512_mullo_epi32(sum, factor)));
  }
}

class Requantizer {
 public:
  explicit Requantizer(const FixedPoint& fixed)
      : multiplier_(_mm512_set1_epi32(fixed.multiplier)),
        nudge_(_mm512_set1_epi64(int64_t{1} << 31)),
        half_(_mm512_set1_epi32(int32_t{1} << (fixed.shift - 1))),
        shift_(_mm_cvtsi32_si128(fixed.shift)),
        zero_point_(_mm512_set1_epi32(fixed.zero_point)) {}

  __m128i operator()(__m512i sums) const {
    // Twice the sum puts the bits that are kept into the upper dwords.
    const __m512i twice = _mm512_add_epi32(sums, sums);
    const __m512i even =
        _mm512_add_epi64(_mm512_mul_epi32(twice, multiplier_), nudge_);
    const __m512i odd = _mm512_add_epi64(
        _mm512_mul_epi32(_mm512_srli_epi64(twice, 32), multiplier_), nudge_);
    const __m512i high = _mm512_mask_shuffle_epi32(odd, 0x5555, even, _MM_PERM_DDBB);
    const __m512i away = _mm512_add_epi32(half_, _mm512_srai_epi32(high, 31));
    const __m512i value = _mm512_sra_epi32(_mm512_add_epi32(high, away), shift_);
    return _mm512_cvtsepi32_epi8(_mm512_add_epi32(value, zero_point_));
  }

 private:
  __m512i multiplier_, nudge_, half_;
  __m128i shift_;
  __m512i zero_point_;
};

class RoundsOnce {
 public:
  explicit RoundsOnce(const MatmulArgs& a)
      : factor_(_mm512_set1_ps(a.factor)),
        least_(_mm512_set1_ps(static_cast<float>(-128 - a.fixed.zero_point))),
        most_(_mm512_set1_ps(static_cast<float>(127 - a.fixed.zero_point))),
        zero_point_(_mm512_set1_epi32(a.fixed.zero_point)) {}

  __m128i operator()(__m512i sums) const {
    const __m512 scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(sums), factor_);
    const __m512i value =
        _mm512_cvtps_epi32(_mm512_min_ps(_mm512_max_ps(scaled, least_), most_));
    return _mm512_cvtepi32_epi8(_mm512_add_epi32(value, zero_point_));
  }

 private:
  __m512 factor_, least_, most_;
  __m512i zero_point_;
};

template <int kVectors, typename Rounding>
void MultiplyPanels(const MatmulArgs& a, int32_t n, const Rounding& requantize) {
  const size_t panel = static_cast<size_t>(a.dwords) * kRegisterBytes;
  const uint8_t* const right = a.right + static_cast<size_t>(n / kLanes) * panel;
  const __mmask16 last = FirstLanes(a.columns - n - (kVectors - 1) * kLanes);
  for (int32_t m = 0; m < a.rows; m += kRows) {
    const auto* left = reinterpret_cast<const int32_t*>(a.left) +
                       static_cast<size_t>(m) * a.dwords;
    __m512i sums[kRows][kVectors];
    QSPARSE_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      const __m512i bias = _mm512_loadu_si512(a.right_bias + n + v * kLanes);
      QSPARSE_UNROLL
      for (int r = 0; r < kRows; ++r) {
        sums[r][v] = _mm512_add_epi32(bias, _mm512_set1_epi32(a.left_bias[m + r]));
      }
    }
    const uint8_t* columns = right;
    QSPARSE_ROLLED
    for (int32_t k = 0; k < a.dwords; ++k, ++left, columns += kRegisterBytes) {
      __m512i b[kVectors];
      QSPARSE_UNROLL
      for (int v = 0; v < kVectors; ++v) b[v] = _mm512_load_si512(columns + v * panel);
      QSPARSE_UNROLL
      for (int r = 0; r < kRows; ++r) {
        const __m512i value = _mm512_set1_epi32(left[static_cast<size_t>(r) * a.dwords]);
        QSPARSE_UNROLL
        for (int v = 0; v < kVectors; ++v) {
          sums[r][v] = _mm512_dpbusd_epi32(sums[r][v], value, b[v]);
        }
      }
    }
    QSPARSE_UNROLL
    for (int r = 0; r < kRows; ++r) {
      if (m + r >= a.rows) break;
      int8_t* const out = a.out + static_cast<size_t>(m + r) * a.columns + n;
      QSPARSE_UNROLL
      for (int v = 0; v + 1 < kVectors; ++v) {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(out + v * kLanes),
                         requantize(sums[r][v]));
      }
      _mm_mask_storeu_epi8(out + (kVectors - 1) * kLanes, last,
                           requantize(sums[r][kVectors - 1]));
    }
  }
}

template <typename Rounding>
void MultiplyAll(const MatmulArgs& a, const Rounding& requantize) {
  // Blocks of columns as even as they can be: a thin one wastes loads.
  int32_t panels = (a.columns + kLanes - 1) / kLanes;
  int32_t blocks = (panels + kMaxVectors - 1) / kMaxVectors;
  for (int32_t n = 0; blocks > 0; --blocks) {
    const int32_t vectors = (panels + blocks - 1) / blocks;
    switch (vectors) {
      case 1:
        MultiplyPanels<1>(a, n, requantize);
        break;
      case 2:
        MultiplyPanels<2>(a, n, requantize);
        break;
      case 3:
        MultiplyPanels<3>(a, n, requantize);
        break;
      default:
        MultiplyPanels<4>(a, n, requantize);
        break;
    }
    n += vectors * kLanes;
    panels -= vectors;
  }
}

void Multiply(const MatmulArgs& a) {
  if (a.factor != 0) return MultiplyAll(a, RoundsOnce(a));
  MultiplyAll(a, Requantizer(a.fixed));
}

}  // namespace

extern const MatmulKernel kAvx512VnniMatmul;
const MatmulKernel kAvx512VnniMatmul = {
    "matmul", kRows, kLanes, kUnit, /*pack_rate=*/0.25, &PackLeftSide,
    &PackRightSide, &Multiply};

}  // namespace qsparse
