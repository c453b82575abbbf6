#include "check_layer.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "allocations.h"
#include "base/cpu.h"
#include "plan/pack.h"
#include "reference.h"

namespace qsparse::fuzz {
namespace {

std::string NameOf(const KernelChoice& choice) {
  return std::string(IsaName(choice.isa())) + " " + choice.name();
}

// Where the outputs differ first, or empty.
std::string Compare(const std::vector<int8_t>& expected, const int8_t* actual,
                    int32_t outputs) {
  const auto first = std::mismatch(expected.begin(), expected.end(), actual).first;
  if (first == expected.end()) return "";
  const auto index = first - expected.begin();
  int64_t wrong = 0;
  for (size_t i = 0; i < expected.size(); ++i) wrong += expected[i] != actual[i];
  return "row " + std::to_string(index / outputs) + " output " +
         std::to_string(index % outputs) + " is " + std::to_string(actual[index]) +
         ", must be " + std::to_string(*first) + " (" + std::to_string(wrong) + " of " +
         std::to_string(expected.size()) + " differ)";
}

}  // namespace

bool LayerChecker::Runs(Isa isa) const {
  if (isas_.empty()) return IsSupported(isa);
  return std::find(isas_.begin(), isas_.end(), isa) != isas_.end();
}

std::string LayerChecker::CheckPacked(const LayerCase& c, const KernelChoice& choice,
                                      bool dense, ThreadPool* pool, bool at_end) {
  const std::unique_ptr<PackedLayer> packed = Pack(c.layer, choice, dense, pool);
  if (packed == nullptr || !FitsMemory(c.layer, choice, pool)) return "does not fit";
  if (packed->input_bytes() != c.inputs[0].size()) return "wrong input size";
  if (packed->output_bytes() != expected_[0].size()) return "wrong output size";
  for (size_t i = 0; i < c.inputs.size(); ++i) {
    const std::vector<int8_t>& expected = expected_[i];
    int8_t* input = input_.Place(c.inputs[i].size(), at_end);
    int8_t* output = output_.Place(expected.size(), at_end);
    std::copy(c.inputs[i].begin(), c.inputs[i].end(), input);
    // Wrong everywhere, so that outputs not written are found.
    std::transform(expected.begin(), expected.end(), output,
                   [](int8_t value) { return static_cast<int8_t>(~value); });
    const int64_t allocations = Allocations();
    packed->Run(input, output);
    if (Allocations() != allocations) return "allocates while it runs";
    ++runs_[NameOf(choice)];
    const std::string difference = Compare(expected, output, c.layer.outputs);
    if (!difference.empty()) return "input " + std::to_string(i) + ": " + difference;
    if (!std::equal(c.inputs[i].begin(), c.inputs[i].end(), input)) {
      return "changes its input";
    }
    if (!input_.Intact() || !output_.Intact()) return "writes outside its output";
  }
  return "";
}

std::string LayerChecker::CheckKernel(const LayerCase& c, const KernelChoice& choice,
                                      bool at_end) {
  for (ThreadPool* pool : {&one_, &two_}) {
    for (const bool dense : {false, true}) {
      const std::string wrong = CheckPacked(c, choice, dense, pool, at_end);
      if (wrong.empty()) continue;
      return NameOf(choice) + ", threads " + std::to_string(pool->threads()) +
             (dense ? ", dense: " : ": ") + wrong;
    }
  }
  return "";
}

std::string LayerChecker::Check(LayerCase c, uint64_t seed) {
  const bool at_end = seed / 2 % 2 == 0;
  int8_t* weights = weights_.Place(c.weights.size(), at_end);
  std::copy(c.weights.begin(), c.weights.end(), weights);
  c.layer.weights = weights;
  expected_.clear();
  for (const auto& input : c.inputs) {
    expected_.push_back(Reference(c.layer, input));
    outputs_ += static_cast<int64_t>(expected_.back().size());
    inside_ += std::count_if(
        expected_.back().begin(), expected_.back().end(), [&c](int8_t value) {
          return value > c.layer.output_min && value < c.layer.output_max;
        });
  }
  for (const KernelChoice& choice : AllChoices(c.layer)) {
    if (!Runs(choice.isa())) continue;
    std::string wrong = CheckKernel(c, choice, at_end);
    if (!wrong.empty()) return wrong;
  }
  return "";
}

}  // namespace qsparse::fuzz
