#include "plan/cost_model.h"

#include <algorithm>
#include <cmath>

#include "blocks/geometry.h"
#include "plan/kernel_choice.h"
#include "plan/xnnpack_time.h"

namespace qsparse {
namespace {

// Every cost is in the time of one multiply-accumulate of the kernel at its peak
// rate, so that clock rates cancel out. Fitted to whole-invocation timings.
struct Rates {
  double block;        // of a block, beside its products: loading its weights
  double block_floor;  // least time of a block and tile: latency of its chain
  double requantize;   // per output position computed
  double chunk;        // packing or unpacking 64 bytes of a row
  double call;         // fixed cost of an invocation
  double spilled;      // factor when a tile does not fit the first-level cache
};

constexpr int64_t kChunkBytes = 64;
constexpr double kTileBytes = 48 * 1024;

Rates RatesOf(const Kernel& kernel) {
  switch (kernel.isa) {
    case Isa::kAvx512Vnni:
      if (kernel.max_rows != 0) return {140, 0, 70, 450, 250e3, 1.0};
      return {0, 400, 15, 450, 250e3, 1.12};
    case Isa::kAvxVnni:
      return {0, 250, 10, 550, 120e3, 1.1};
    case Isa::kAvx2:
      return {0, 160, 8, 350, 60e3, 1.1};
    // ARM: not timed but derived from counted instructions (tests/arm/bench.py).
    case Isa::kNeonI8mm:
      return {0, 130, 40, 540, 60e3, 1.1};
    case Isa::kNeonDotprod:
      return {0, 130, 25, 400, 44e3, 1.1};
    case Isa::kNeon:
      return {0, 80, 18, 150, 16e3, 1.1};
    default:
      return {0, 64, 4, 60, 8e3, 1.0};
  }
}

// Of a row kernel, in the same unit.
struct RowRates {
  double entry;       // of an entry and tile: loading its weights
  double row;         // of an entry and row: its products
  double requantize;  // per output
  double chunk;       // packing 64 bytes of a row
  double call;
};

#if defined(__aarch64__)
double PeakOf(Isa isa);

// Counted instructions are the only evidence (tests/arm/bench.py): whether table
// lookups are as fast as products, no processor has been asked.
RowRates NeonRatesOf(const RowKernel& kernel) {
  constexpr double kRequantize = 3.5, kChunk = 13, kCall = 4000;
  const bool is_block = kernel.kept == kernel.run;
  const bool is_dotprod = kernel.isa != Isa::kNeon;
  const double entry = is_block && !is_dotprod ? 11 : 7;
  const double row = is_dotprod ? 5 : is_block ? 15 : 9;
  const double peak = PeakOf(kernel.isa);
  return {entry * peak, row * peak, kRequantize * peak, kChunk * peak, kCall * peak};
}
#endif

RowRates RatesOf([[maybe_unused]] const Cpu& cpu, const RowKernel& kernel) {
  if (kernel.isa == Isa::kPortable) return {16, 64, 60, 20, 8e3};
#if defined(__aarch64__)
  return NeonRatesOf(kernel);
#else
  if (kernel.isa == Isa::kAvxVnni) return {80, 39, 14, 150, 120e3};
  if (kernel.isa == Isa::kAvx2) return {50, 18, 14, 450, 60e3};
  if (kernel.kept == kernel.run) return {140, 80, 4, 900, 250e3};
  // Intel shuffles and multiplies one register per cycle, AMD one and a half.
  const double row = cpu.is_intel ? 150 : 105;
  // Two-bit places take longer to unpack and less time to arrive.
  if (kernel.run < kernel.window) return {220, row + 5, 4, 900, 250e3};
  return {240, row, 4, 900, 250e3};
#endif
}

// Multiply-accumulates per cycle of our kernels at their peak; on ARM per instruction
// of the inner loop, as counted.
double PeakOf(Isa isa) {
  switch (isa) {
    case Isa::kAvx512Vnni:
      return 128;
    case Isa::kAvxVnni:
      return 64;
    case Isa::kAvx2:
      return 28;
    case Isa::kNeonI8mm:
      return 15;
    case Isa::kNeonDotprod:
      return 11.1;
    case Isa::kNeon:
      return 4.1;
    default:
      return 2;
  }
}

int64_t RoundUp(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

int64_t Chunks(int64_t bytes) { return (bytes + kChunkBytes - 1) / kChunkBytes; }

// XNNPACK takes the best instructions of the CPU, whatever was forced here. `dense` is
// what computing all weights with the kernel at hand would cost.
double XnnpackTime(const Cpu& cpu, const Layer& layer, Isa isa, double call,
                   double dense) {
  double time = XnnpackCycles(cpu, layer) * PeakOf(isa);
  // The matrix unit is never slower than VNNI. Where it was not timed, at few channels
  // and outputs, the formula says so.
  if (cpu.xnnpack == XnnpackIsa::kAmx) time = std::min(time, dense);
  return time + call;
}

// Positions computed; the columns between padded rows are thrown away.
int64_t ComputedPositions(const Layer& layer, const Kernel& kernel) {
  if (layer.taps() == 1) return RoundUp(layer.rows(), kernel.lanes);
  const int64_t between =
      MasksColumns(layer, kernel) ? 0 : (layer.reach_width() - 1) / 2;
  const int64_t width = layer.out_width + between;
  return layer.batch * RoundUp(layer.out_height * width, kernel.lanes);
}

}  // namespace

int64_t AllBlocks(const Layer& layer) {
  return RoundUp(layer.outputs, kBlock) / kBlock *
         (RoundUp(layer.channels, kBlock) / kBlock) * layer.taps();
}

int64_t FewestEntries(const Layer& layer, const RowKernel& kernel, double density) {
  const double weights = static_cast<double>(layer.taps()) * layer.channels *
                         static_cast<double>(layer.outputs);
  return static_cast<int64_t>(weights * density / (kernel.outputs * kernel.slots()));
}

Cost EstimateCost(const Cpu& cpu, const Layer& layer, int64_t blocks,
                  const Kernel& kernel) {
  const Rates rates = RatesOf(kernel);
  const int64_t computed = ComputedPositions(layer, kernel);
  const int64_t images = layer.taps() == 1 ? 1 : layer.batch;
  const int64_t vectors = computed / images / kernel.lanes;
  const double tiles = static_cast<double>(
      images * ((vectors + kernel.max_vectors - 1) / kernel.max_vectors));

  double block = rates.block + kBlockWeights * static_cast<double>(computed);
  block = std::max(block, rates.block_floor * tiles);
  const double tile_bytes = 2.0 * kernel.lanes * kernel.quad_bytes *
                            static_cast<double>(RoundUp(layer.channels, kBlock) / kBlock);
  if (vectors > 1 && tile_bytes > kTileBytes) block *= rates.spilled;
  const double requantize = rates.requantize * static_cast<double>(computed) *
                            static_cast<double>(RoundUp(layer.outputs, kBlock));

  const double in_rows = layer.taps() == 1 ? static_cast<double>(layer.rows())
                                           : static_cast<double>(layer.batch) *
                                                 layer.height * layer.width;
  Cost cost;
  cost.pack = rates.chunk * in_rows * static_cast<double>(Chunks(layer.channels));
  cost.compute = block * static_cast<double>(blocks) + requantize;
  cost.unpack = rates.chunk * static_cast<double>(computed) *
                static_cast<double>(Chunks(layer.outputs));
  cost.call = rates.call;
  const double dense = block * static_cast<double>(AllBlocks(layer)) + requantize;
  cost.xnnpack = XnnpackTime(cpu, layer, kernel.isa, rates.call, dense);
  return cost;
}

Cost EstimateCost(const Cpu& cpu, const Layer& layer, int64_t entries,
                  const RowKernel& kernel) {
  const RowRates rates = RatesOf(cpu, kernel);
  const double rows = static_cast<double>(layer.rows());
  const double tiles = std::ceil(rows / kernel.max_rows);
  const double in_rows = layer.taps() == 1 ? rows
                                           : static_cast<double>(layer.batch) *
                                                 layer.height * layer.width;
  const double results =
      rows * static_cast<double>(RoundUp(layer.outputs, kernel.outputs));
  const double requantize = rates.requantize * results;
  Cost cost;
  cost.pack = rates.chunk * in_rows * static_cast<double>(Chunks(layer.channels));
  double entry = rates.entry * tiles + rates.row * rows;
  if (IsFar(layer)) {
    entry = std::max(entry,
                     FarByteCycles(cpu) * PeakOf(kernel.isa) * kernel.entry_bytes);
  }
  cost.compute = static_cast<double>(entries) * entry + requantize;
  cost.call = rates.call;
  const double dense = static_cast<double>(FewestEntries(layer, kernel, 1)) * entry;
  cost.xnnpack = XnnpackTime(cpu, layer, kernel.isa, rates.call, dense + requantize);
  return cost;
}

double Cost::chained(const Layer& layer, const Kernel& kernel) const {
  // Planes are read as they are unless strides or margins of rows stand in the way.
  constexpr double kCopy = 0.5;
  const bool strided = layer.stride_height > 1 || layer.stride_width > 1;
  const bool margins = layer.kernel_width > 1 && !kernel.masks_columns;
  return compute + (strided || margins ? kCopy * pack : 0.0) + call - invocation();
}

Cost EstimateCost(Isa isa, const ChainNode& node, int64_t rows, int64_t channels) {
  // Cycles: of a sum per element, where XNNPACK's loop is like ours; of borders and
  // windows per position of the output and, ours, per plane.
  constexpr double kSum = 0.2, kXnnpackPosition = 36, kOursPosition = 2;
  const Rates rates = RatesOf(ChainKernel(isa));
  const double positions = static_cast<double>(rows);
  const double planes = static_cast<double>(RoundUp(channels, kBlock) / kBlock);
  Cost cost;
  cost.pack = rates.chunk * positions * static_cast<double>(Chunks(channels));
  cost.unpack = cost.pack;
  cost.compute = cost.xnnpack =
      PeakOf(isa) * kSum * positions * static_cast<double>(channels);
  if (!node.is_add()) {
    cost.xnnpack = PeakOf(isa) * kXnnpackPosition * positions;
    cost.compute = PeakOf(isa) * kOursPosition * positions * planes;
  }
  cost.call = rates.call;
  return cost;
}

Cost EstimateCost(Isa isa, const OperationShape& shape) {
  // Cycles of the runtime, whose loops are the same on every CPU, and of ours.
  constexpr double kRuntimeMac = 0.4, kRuntimeResult = 5, kRuntimeSoftmax = 5.5;
  constexpr double kResult = 1.2, kSoftmax = 1.5;
  const double packed = isa == Isa::kAvx512Vnni ? 0.25 : 1.5;
  const double peak = PeakOf(isa);
  Cost cost;
  cost.call = RatesOf(ChainKernel(isa)).call / 10;
  cost.xnnpack = cost.call;
  if (shape.op == Op::kBatchMatmul) {
    const MatmulShape& m = shape.matmul;
    const double macs = static_cast<double>(m.macs());
    const double results = static_cast<double>(m.batch) * m.rows * m.columns;
    const double values = static_cast<double>(m.batch) * m.depth * (m.rows + m.columns);
    cost.pack = packed * peak * values;
    cost.compute = macs + kResult * peak * results;
    cost.xnnpack += peak * (kRuntimeMac * macs + kRuntimeResult * results);
  } else {
    const double values =
        static_cast<double>(shape.softmax.rows) * shape.softmax.columns;
    cost.compute = kSoftmax * peak * values;
    cost.xnnpack += kRuntimeSoftmax * peak * values;
  }
  return cost;
}

}  // namespace qsparse
