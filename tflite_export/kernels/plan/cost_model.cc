#include "plan/cost_model.h"

#include <algorithm>
#include <cmath>

#include "blocks/geometry.h"
#include "blocks/kernel_table.h"
#include "matmul/matmul_kernel.h"
#include "plan/xnnpack_time.h"

namespace qsparse {
namespace {

constexpr int64_t kChunkBytes = 64;
constexpr double kTileBytes = 48 * 1024;

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
  const Rates& rates = kernel.rates;
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
  const RowRates& rates = kernel.rates;
  const bool as_on_intel = cpu.is_intel && rates.row_on_intel != 0;
  const double row = as_on_intel ? rates.row_on_intel : rates.row;
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
  double entry = rates.entry * tiles + row * rows;
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
  const Rates& rates = ChainKernel(isa).rates;
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

Cost EstimateCost(const Cpu& cpu, Isa isa, const OperationShape& shape) {
  // Cycles of the runtime, whose loops are the same on every CPU, and of ours.
  constexpr double kRuntimeMac = 0.4, kRuntimeResult = 5, kRuntimeSoftmax = 5.5;
  constexpr double kRuntimeChoice = 1.6, kRuntimeLookup = 1.1;
  constexpr double kResult = 1.2, kResultRoundedOnce = 0.3;
  constexpr double kSoftmax = 1.5, kChoice = 0.3, kLookup = 0.2;
  const double peak = PeakOf(isa);
  Cost cost;
  cost.call = ChainKernel(isa).rates.call / 10;
  cost.xnnpack = cost.call;
  switch (shape.op) {
    case Op::kBatchMatmul: {
      const MatmulShape& m = shape.matmul;
      const double macs = static_cast<double>(m.macs());
      const double results = static_cast<double>(m.batch) * m.rows * m.columns;
      const double values =
          static_cast<double>(m.batch) * m.depth * (m.rows + m.columns);
      cost.pack = GetMatmulKernel(isa).pack_rate * peak * values;
      cost.compute = macs + (m.factor != 0 ? kResultRoundedOnce : kResult) * peak * results;
      if (m.factor != 0) {
        cost.xnnpack += peak * XnnpackCycles(cpu, m);
      } else {
        cost.xnnpack += peak * (kRuntimeMac * macs + kRuntimeResult * results);
      }
      break;
    }
    case Op::kSelectV2: {
      const double values = static_cast<double>(shape.choice.values());
      cost.compute = kChoice * peak * values;
      cost.xnnpack += kRuntimeChoice * peak * values;
      break;
    }
    case Op::kGelu: {
      const double values = static_cast<double>(shape.lookup.values);
      const double lookup = cpu.looks_up_bytes(isa) ? kLookup : kRuntimeLookup;
      cost.compute = lookup * peak * values;
      cost.xnnpack += kRuntimeLookup * peak * values;
      break;
    }
    default: {
      const double values =
          static_cast<double>(shape.softmax.rows) * shape.softmax.columns;
      cost.compute = kSoftmax * peak * values;
      cost.xnnpack += kRuntimeSoftmax * peak * values;
    }
  }
  return cost;
}

}  // namespace qsparse
