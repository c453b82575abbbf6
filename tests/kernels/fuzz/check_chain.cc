#include "check_chain.h"

#include <algorithm>
#include <memory>

#include "allocations.h"
#include "base/cpu.h"
#include "chain/chain.h"
#include "plan/kernel_choice.h"
#include "random.h"

namespace qsparse::fuzz {
namespace {

// Any kernel of the ISA that can be part of a chain and takes the layer; or null.
const Kernel* DrawKernel(Random& random, const Layer& layer, Isa isa) {
  std::vector<const Kernel*> kernels;
  for (const KernelChoice& choice : AllChoices(layer)) {
    if (choice.planes != nullptr && choice.isa() == isa) kernels.push_back(choice.planes);
  }
  if (kernels.empty()) return nullptr;
  return kernels[random.Int(0, static_cast<int32_t>(kernels.size()) - 1)];
}

}  // namespace

// Those with a kernel for the smallest layer.
std::vector<Isa> ChainChecker::IsasOf() const {
  if (!isas_.empty()) return isas_;
  std::vector<Isa> isas;
  constexpr int8_t kWeight = 1;
  Layer smallest;
  smallest.outputs = smallest.channels = smallest.batch = 1;
  smallest.weights = &kWeight;
  for (const KernelChoice& choice : AllChoices(smallest)) {
    const Isa isa = choice.isa();
    const bool known = std::find(isas.begin(), isas.end(), isa) != isas.end();
    if (choice.planes != nullptr && !known && IsSupported(isa)) isas.push_back(isa);
  }
  return isas;
}

std::string ChainChecker::CheckIsa(const ChainCase& c, Isa isa, bool dense,
                                   ThreadPool* pool, uint64_t seed) {
  Random random(seed);
  std::vector<ChainNode> nodes = c.nodes;
  for (ChainNode& node : nodes) {
    if (!node.is_layer()) continue;
    node.kernel = DrawKernel(random, node.layer, isa);
    if (node.kernel == nullptr) return "";  // such a layer is in no chain
  }
  if (!Chain::Fits(nodes, isa, pool)) return "does not fit";
  const auto chain = Chain::Create(nodes, c.inputs, c.outputs, isa, dense, pool);
  if (chain == nullptr) return "is not made";

  const bool at_end = seed / 2 % 2 == 0;
  inputs_.resize(std::max(inputs_.size(), c.inputs.size()));
  outputs_.resize(std::max(outputs_.size(), c.outputs.size()));
  std::vector<int8_t*> inputs, outputs;
  for (size_t i = 0; i < c.inputs.size(); ++i) {
    const std::vector<int8_t>& value = c.values[c.inputs[i]];
    if (chain->input_bytes(i) != value.size()) return "wrong input size";
    inputs.push_back(inputs_[i].Place(value.size(), at_end));
    std::copy(value.begin(), value.end(), inputs.back());
  }
  for (size_t i = 0; i < c.outputs.size(); ++i) {
    const std::vector<int8_t>& value = c.values[c.outputs[i]];
    if (chain->output_bytes(i) != value.size()) return "wrong output size";
    outputs.push_back(outputs_[i].Place(value.size(), at_end));
  }
  for (int round = 0; round < 2; ++round) {  // the second finds what the first left
    for (size_t i = 0; i < c.outputs.size(); ++i) {
      const std::vector<int8_t>& value = c.values[c.outputs[i]];
      std::transform(value.begin(), value.end(), outputs[i],
                     [](int8_t x) { return static_cast<int8_t>(~x); });
    }
    const int64_t allocations = Allocations();
    chain->Run(inputs.data(), outputs.data());
    if (Allocations() != allocations) return "allocates while it runs";
    ++runs_[std::string(IsaName(isa)) + " chain"];
    for (size_t i = 0; i < c.outputs.size(); ++i) {
      const std::vector<int8_t>& value = c.values[c.outputs[i]];
      const auto wrong = std::mismatch(value.begin(), value.end(), outputs[i]).first;
      if (wrong != value.end()) {
        return "round " + std::to_string(round) + ": tensor " +
               std::to_string(c.outputs[i]) + " differs at byte " +
               std::to_string(wrong - value.begin()) + " of " +
               std::to_string(value.size());
      }
      if (!outputs_[i].Intact()) return "writes outside its output";
    }
    for (size_t i = 0; i < c.inputs.size(); ++i) {
      const std::vector<int8_t>& value = c.values[c.inputs[i]];
      if (!inputs_[i].Intact() || !std::equal(value.begin(), value.end(), inputs[i])) {
        return "changes its input";
      }
    }
  }
  return "";
}

std::string ChainChecker::Check(const ChainCase& c, uint64_t seed) {
  for (const Isa isa : IsasOf()) {
    for (ThreadPool* pool : {&one_, &two_}) {
      for (const bool dense : {false, true}) {
        const std::string wrong = CheckIsa(c, isa, dense, pool, seed);
        if (wrong.empty()) continue;
        return std::string(IsaName(isa)) + " chain, threads " +
               std::to_string(pool->threads()) + (dense ? ", dense: " : ": ") + wrong;
      }
    }
  }
  return "";
}

}  // namespace qsparse::fuzz
