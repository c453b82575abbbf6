#include "plan/xnnpack_time.h"

#include <algorithm>
#include <cstdint>

namespace qsparse {
namespace {

constexpr int64_t kFarBytes = int64_t{2} << 20;

// A dense kernel that computes tiles of `rows` x `outputs`, 8 inputs at a time.
struct Tiles {
  double rate;  // multiply-accumulates per cycle
  int64_t rows;
  int64_t outputs;
  double single_row;  // a row alone, bound by reading the weights, costs so many
  double per_output;  // multiply-accumulates that an output costs beside its own
  double far_byte;    // cycles
};

// As measured; without VNNI in 512 bits, where no machine was at hand, from the
// instructions of the loop: it widens every byte to 16 bits, on the port that also
// multiplies. On ARM per instruction, as counted (benchmarks/arm.py); where that makes
// our dense kernel the faster one (NEON), it is taken to be equal: XNNPACK's is
// scheduled by hand.
Tiles TilesOf(const Cpu& cpu) {
  switch (cpu.xnnpack) {
    case XnnpackIsa::kAmx:  // of a single row, which reads weights as fast as VNNI
    case XnnpackIsa::kAvx512Vnni:
      return {cpu.is_intel ? 80.0 : 128.0, 7, 16, 2, 40, 0.08};
    case XnnpackIsa::kAvxVnni:
      return {54, 5, 8, 2, 40, 0.08};
    case XnnpackIsa::kAvx512:
      return {26, 7, 16, 1.3, 30, 0.05};
    case XnnpackIsa::kAvx2:
      return {25, 3, 8, 1.3, 30, 0.05};
    case XnnpackIsa::kSme2:
      return {100, 4, 16, 2, 40, 0.08};
    case XnnpackIsa::kNeonI8mm:
      return {25.6, 4, 16, 2, 40, 0.16};
    case XnnpackIsa::kNeonDotprod:
      return {12.8, 4, 16, 2, 40, 0.31};
    case XnnpackIsa::kNeon:
      return {4.1, 4, 16, 2, 40, 0.98};
    case XnnpackIsa::kOther:
      break;
  }
  return {32, 4, 16, 2, 40, 0.13};
}

int64_t RoundUp(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

double WeightBytes(const Layer& layer) {
  return static_cast<double>(layer.taps()) * layer.channels * layer.outputs;
}

double TiledCycles(const Cpu& cpu, const Layer& layer) {
  const Tiles tiles = TilesOf(cpu);
  double rows = layer.rows() == 1
                    ? tiles.single_row
                    : static_cast<double>(RoundUp(layer.rows(), tiles.rows));
  if (IsFar(layer)) rows = std::max(rows, tiles.far_byte * tiles.rate);
  const double depth =
      layer.taps() * static_cast<double>(RoundUp(layer.channels, 8));
  const double macs =
      rows * depth * static_cast<double>(RoundUp(layer.outputs, tiles.outputs));
  const double outputs = static_cast<double>(layer.rows() * layer.outputs);
  return (macs + tiles.per_output * outputs) / tiles.rate;
}

// Tiles of 16 rows x 64 outputs, 64 inputs at a time: smaller layers fill them up. The
// constants are fitted to 57 layers timed on one such CPU, to within 13%; gains came out
// 2 to 6% too high, which is taken off.
double AmxCycles(const Layer& layer) {
  constexpr int64_t kRows = 16, kSide = 64;
  constexpr double kRate = 550, kGather = 40, kFarByte = 0.05, kPerOutput = 0.5;
  constexpr double kTooHigh = 1.05;
  const double rows = static_cast<double>(layer.rows());
  const double columns = static_cast<double>(RoundUp(layer.outputs, kSide));
  const double depth =
      layer.taps() * static_cast<double>(RoundUp(layer.channels, kSide));
  double tile = kRows * depth * columns / kRate;
  if (layer.taps() > 1) tile += kGather * layer.taps() * columns / kSide;
  if (IsFar(layer)) tile = std::max(tile, kFarByte * WeightBytes(layer));
  const double tiles = static_cast<double>((layer.rows() + kRows - 1) / kRows);
  return (tiles * tile + kPerOutput * rows * layer.outputs) / kTooHigh;
}

}  // namespace

double XnnpackCycles(const Cpu& cpu, const Layer& layer) {
  const bool tiled = cpu.xnnpack == XnnpackIsa::kAmx && layer.rows() > 1;
  return tiled ? AmxCycles(layer) : TiledCycles(cpu, layer);
}

double XnnpackCycles(const Cpu& cpu, const MatmulShape& shape) {
  // Packing is plain C++ on every CPU; measured on one (Zen 4).
  constexpr double kPacked = 4, kResult = 0.5, kAmxRate = 550;
  const double rate =
      cpu.xnnpack == XnnpackIsa::kAmx ? kAmxRate : TilesOf(cpu).rate;
  const double right = static_cast<double>(shape.batch) * shape.depth * shape.columns;
  const double results = static_cast<double>(shape.batch) * shape.rows * shape.columns;
  return static_cast<double>(shape.macs()) / rate + kPacked * right + kResult * results;
}

bool IsFar(const Layer& layer) {
  return WeightBytes(layer) >= static_cast<double>(kFarBytes);
}

double FarByteCycles(const Cpu& cpu) { return TilesOf(cpu).far_byte; }

}  // namespace qsparse
