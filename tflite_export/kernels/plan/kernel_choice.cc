#include "plan/kernel_choice.h"

#include <cstring>

#include "blocks/kernel_table.h"
#include "rows/row_kernel_table.h"
#include "rows/row_weights.h"

namespace qsparse {

namespace {

bool HasMinus128(const Layer& layer) {
  const size_t count =
      static_cast<size_t>(layer.outputs) * layer.taps() * layer.channels;
  return std::memchr(layer.weights, 0x80, count) != nullptr;
}

// Kernels for few positions know nothing of kernel taps.
bool Takes(const Kernel& kernel, const Layer& layer) {
  if (kernel.narrow_weights && HasMinus128(layer)) return false;
  return kernel.max_rows == 0 ||
         (layer.taps() == 1 && layer.rows() <= kernel.max_rows);
}

bool Takes(const Cpu& cpu, const RowKernel& kernel, const Layer& layer) {
  if (kernel.narrow_weights && HasMinus128(layer)) return false;
  return (!kernel.needs_vbmi || cpu.has_vbmi) &&
         (kernel.max_positions == 0 || layer.rows() <= kernel.max_positions);
}

int64_t Blocks(const Layer& layer, const Pattern& pattern, bool dense) {
  return dense ? AllBlocks(layer) : pattern.blocks;
}

}  // namespace

KernelChoice ChoosePlaneKernel(const Cpu& cpu, Isa isa, const Layer& layer,
                               const Pattern& pattern, bool dense) {
  KernelChoice best;
  for (const Kernel* kernel : kPlaneKernels) {
    if (kernel->isa != isa || !Takes(*kernel, layer)) continue;
    const Cost cost = EstimateCost(cpu, layer, Blocks(layer, pattern, dense), *kernel);
    if (best.planes == nullptr || cost.ours() < best.cost.ours()) {
      best = {kernel, nullptr, cost};
    }
  }
  if (best.planes != nullptr) return best;
  return ChoosePlaneKernel(cpu, Isa::kPortable, layer, pattern, dense);
}

KernelChoice ChooseKernel(const Cpu& cpu, Isa isa, const Layer& layer,
                          const Pattern& pattern, bool dense,
                          const std::string& forced) {
  const int64_t blocks = Blocks(layer, pattern, dense);
  KernelChoice best;
  const auto is_better = [&](const char* name, const Cost& cost) {
    if (best.planes == nullptr && best.rows == nullptr) return true;
    if (best.name() == forced || name == forced) return best.name() != forced;
    return cost.ours() < best.cost.ours();
  };
  for (const Kernel* kernel : kPlaneKernels) {
    if (kernel->isa != isa || !Takes(*kernel, layer)) continue;
    const Cost cost = EstimateCost(cpu, layer, blocks, *kernel);
    if (is_better(kernel->name, cost)) best = {kernel, nullptr, cost};
  }
  for (const RowKernel* kernel : kRowKernels) {
    if (kernel->isa != isa || !Takes(cpu, *kernel, layer)) continue;
    // Counting reads all weights: not for a kernel that loses at its best.
    const double density = dense ? 1.0 : pattern.density;
    const int64_t fewest = FewestEntries(layer, *kernel, density);
    if (!is_better(kernel->name, EstimateCost(cpu, layer, fewest, *kernel))) continue;
    const Cost cost =
        EstimateCost(cpu, layer, CountEntries(layer, *kernel, dense), *kernel);
    if (is_better(kernel->name, cost)) best = {nullptr, kernel, cost};
  }
  if (best.planes == nullptr && best.rows == nullptr) {
    return ChooseKernel(cpu, Isa::kPortable, layer, pattern, dense, forced);
  }
  return best;
}

std::vector<KernelChoice> AllChoices(const Layer& layer) {
  std::vector<KernelChoice> choices;
  for (const Kernel* kernel : kPlaneKernels) {
    if (Takes(*kernel, layer)) choices.push_back({kernel, nullptr, {}});
  }
  for (const RowKernel* kernel : kRowKernels) {
    if (Takes(ThisCpu(), *kernel, layer)) choices.push_back({nullptr, kernel, {}});
  }
  return choices;
}

bool IsKernelName(const std::string& name) {
  for (const Kernel* kernel : kPlaneKernels) {
    if (name == kernel->name) return true;
  }
  for (const RowKernel* kernel : kRowKernels) {
    if (name == kernel->name) return true;
  }
  return false;
}

}  // namespace qsparse
