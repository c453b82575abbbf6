// Which kernel of an ISA runs a layer: the one predicted to be fastest.
#ifndef QSPARSE_PLAN_KERNEL_CHOICE_H_
#define QSPARSE_PLAN_KERNEL_CHOICE_H_

#include <string>
#include <vector>

#include "base/cpu.h"
#include "blocks/kernel.h"
#include "graph/layer.h"
#include "plan/cost_model.h"
#include "plan/pattern.h"
#include "rows/row_kernel.h"

namespace qsparse {

// Exactly one of the two families.
struct KernelChoice {
  const Kernel* planes = nullptr;
  const RowKernel* rows = nullptr;
  Cost cost;

  const char* name() const { return rows != nullptr ? rows->name : planes->name; }
  Isa isa() const { return rows != nullptr ? rows->isa : planes->isa; }
};

// Of the kernels of `isa`, which need not be the CPU's best. `dense` treats every
// weight as present. A kernel called `forced` is taken whenever it takes the layer;
// empty: none is forced.
KernelChoice ChooseKernel(const Cpu& cpu, Isa isa, const Layer& layer,
                          const Pattern& pattern, bool dense,
                          const std::string& forced = "");

// The same among the kernels that can be part of a chain.
KernelChoice ChoosePlaneKernel(const Cpu& cpu, Isa isa, const Layer& layer,
                               const Pattern& pattern, bool dense);

// Every kernel of any ISA that takes the layer on this CPU, without its cost.
std::vector<KernelChoice> AllChoices(const Layer& layer);

// Whether any ISA has a kernel of this name.
bool IsKernelName(const std::string& name);

}  // namespace qsparse

#endif  // QSPARSE_PLAN_KERNEL_CHOICE_H_
