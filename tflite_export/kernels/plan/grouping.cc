#include "plan/grouping.h"

#include <algorithm>
#include <limits>
#include <map>
#include <numeric>

namespace qsparse {
namespace {

enum class State : uint8_t { kLeft, kAlone, kChained };

struct Tensor {
  int32_t producer = -1;
  std::vector<int32_t> consumers;
};

// Chooses a state for every candidate so that the sum of all times is least.
class Search {
 public:
  Search(const std::vector<Candidate>& candidates, double min_gain)
      : candidates_(candidates), min_gain_(min_gain) {
    for (size_t i = 0; i < candidates.size(); ++i) {
      const Candidate& c = candidates[i];
      const int32_t index = static_cast<int32_t>(i);
      tensors_[c.output].producer = index;
      for (const int32_t input : c.inputs) {
        if (input >= 0) tensors_[input].consumers.push_back(index);
      }
    }
    for (const Candidate& c : candidates) {
      states_.push_back(c.in_chain ? State::kChained : Alone(c));
    }
  }

  // One candidate at a time, until none can be improved by itself.
  void Run() {
    constexpr int kMostSweeps = 16;
    bool changed = true;
    for (int sweep = 0; changed && sweep < kMostSweeps; ++sweep) {
      changed = false;
      for (size_t i = 0; i < states_.size(); ++i) changed |= Improve(i);
    }
  }

  // Chained candidates that hand each other tensors form a group.
  Groups Collect() const {
    const size_t count = candidates_.size();
    std::vector<int32_t> parent(count);
    std::iota(parent.begin(), parent.end(), 0);
    const auto root = [&parent](int32_t i) {
      while (parent[i] != i) i = parent[i] = parent[parent[i]];
      return i;
    };
    for (const auto& [name, tensor] : tensors_) {
      for (const int32_t consumer : tensor.consumers) {
        if (HandsOn(tensor, consumer)) parent[root(consumer)] = root(tensor.producer);
      }
    }
    Groups groups;
    groups.of.assign(count, -1);
    std::map<int32_t, std::vector<int32_t>> members;
    for (size_t i = 0; i < count; ++i) {
      const int32_t index = static_cast<int32_t>(i);
      if (states_[i] != State::kLeft) members[root(index)].push_back(index);
    }
    for (const auto& [first, group] : members) {
      const double gain = Gain(group);
      if (gain < min_gain_) continue;
      for (const int32_t i : group) {
        groups.of[i] = static_cast<int32_t>(groups.gain.size());
      }
      groups.gain.push_back(gain);
    }
    return groups;
  }

 private:
  static State Alone(const Candidate& c) {
    return c.alone > 0 ? State::kAlone : State::kLeft;
  }

  bool IsChained(int32_t i) const { return states_[i] == State::kChained; }

  // Whether the producer's planes reach a consumer: both are chained, see the same
  // channels, and no path between them leads through nodes that are not ours, which
  // would have to run in the middle of the chain.
  bool HandsOn(const Tensor& tensor, int32_t consumer) const {
    if (tensor.producer < 0 || !IsChained(tensor.producer) || !IsChained(consumer)) {
      return false;
    }
    const Candidate& from = candidates_[tensor.producer];
    const Candidate& to = candidates_[consumer];
    return from.level == to.level && from.channels[1] == to.channels[0];
  }

  // Of moving a tensor between rows and planes.
  double Transfer(int32_t name) const {
    const Tensor& tensor = tensors_.at(name);
    double time = 0;
    bool rows_are_read = false;
    for (const int32_t i : tensor.consumers) {
      if (HandsOn(tensor, i)) continue;
      rows_are_read = true;
      if (IsChained(i)) time = std::max(time, candidates_[i].pack);
    }
    if (tensor.producer >= 0 && IsChained(tensor.producer)) {
      const Candidate& producer = candidates_[tensor.producer];
      if (rows_are_read || producer.output_leaves) {
        time += producer.unpack;
      }
    }
    return time;
  }

  double Own(int32_t i) const {
    const Candidate& c = candidates_[i];
    if (states_[i] == State::kChained) return c.compute;
    if (states_[i] == State::kAlone) return c.alone;
    // What is left must be worth leaving: the gain asked for is in its favour.
    return min_gain_ > 0 ? c.xnnpack / min_gain_ : std::numeric_limits<double>::max();
  }

  double Around(int32_t i) const {
    const Candidate& c = candidates_[i];
    double time = Own(i) + Transfer(c.output);
    for (const int32_t input : c.inputs) {
      if (input >= 0) time += Transfer(input);
    }
    return time;
  }

  bool Improve(size_t i) {
    const int32_t index = static_cast<int32_t>(i);
    const Candidate& c = candidates_[i];
    const State before = states_[i];
    State best = before;
    double least = Around(index);
    for (const State state : {State::kChained, State::kAlone, State::kLeft}) {
      if (state == before || (state == State::kChained && !c.in_chain) ||
          (state == State::kAlone && c.alone <= 0)) {
        continue;
      }
      states_[i] = state;
      const double time = Around(index);
      if (time < least) {
        least = time;
        best = state;
      }
    }
    states_[i] = best;
    return best != before;
  }

  double Gain(const std::vector<int32_t>& group) const {
    // Whatever the search had in mind, it runs on the kernel that is best alone.
    const bool by_itself =
        group.size() == 1 && Alone(candidates_[group[0]]) == State::kAlone;
    double ours = 0, xnnpack = 0, call = 0;
    std::vector<int32_t> seen;
    const auto transfer_once = [&](int32_t name) {
      if (name < 0 || std::find(seen.begin(), seen.end(), name) != seen.end()) return;
      seen.push_back(name);
      ours += Transfer(name);
    };
    for (const int32_t i : group) {
      const Candidate& c = candidates_[i];
      const bool chained = states_[i] == State::kChained && !by_itself;
      ours += chained ? c.compute : c.alone;
      xnnpack += c.xnnpack;
      call = std::max(call, c.call);
      if (!chained) continue;
      transfer_once(c.inputs[0]);
      transfer_once(c.inputs[1]);
      transfer_once(c.output);
    }
    return (xnnpack + call) / (ours + call);
  }

  const std::vector<Candidate>& candidates_;
  const double min_gain_;
  std::map<int32_t, Tensor> tensors_;
  std::vector<State> states_;
};

}  // namespace

Groups FindGroups(const std::vector<Candidate>& candidates, double min_gain) {
  Search search(candidates, min_gain);
  search.Run();
  return search.Collect();
}

}  // namespace qsparse
