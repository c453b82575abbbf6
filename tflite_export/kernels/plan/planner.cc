#include "plan/planner.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <set>
#include <utility>

#include "base/cpu.h"
#include "matmul/batch_matmul.h"
#include "plan/cost_model.h"
#include "plan/kernel_choice.h"
#include "plan/levels.h"
#include "plan/pack.h"
#include "read/chain_reader.h"
#include "read/graph_check.h"
#include "read/operation_reader.h"
#include "read/row_reader.h"
#include "regions/row_math.h"
#include "softmax/softmax.h"

namespace qsparse {
namespace {

using litert::Context;
using litert::IntArray;
using litert::Node;
using litert::Registration;

std::vector<int32_t> DimsOf(const Context& context, int32_t index) {
  if (index < 0 || static_cast<size_t>(index) >= context.tensors_size) return {};
  const IntArray* dims = context.tensors[index].dims;
  if (dims == nullptr || dims->size < 0 || dims->size > 8) return {};
  return {dims->data(), dims->data() + dims->size};
}

std::string WithGain(const char* before, double gain, const char* between,
                     double other) {
  char text[96];
  std::snprintf(text, sizeof(text), "%s %.2f %s %.2f", before, gain, between, other);
  return text;
}

// Of an operation.
const char* KernelOf(Op op) {
  switch (op) {
    case Op::kBatchMatmul:
      return "matmul";
    case Op::kSelectV2:
      return "choice";
    case Op::kGelu:
      return "lookup";
    default:
      return "softmax";
  }
}

bool FindNode(Context* context, int32_t index, Node** node, Op* op) {
  Registration* registration = nullptr;
  return context->get_node_and_registration(context, index, node, &registration) ==
             litert::kOk &&
         *node != nullptr && registration != nullptr &&
         FindOp(registration->builtin_code, op);
}

}  // namespace

std::vector<Decision> Planner::Decide(const IntArray& execution_plan) {
  outputs_ = FindOutputs(context_, execution_plan);
  dead_ends_ = FindDeadEnds(context_, execution_plan, outputs_);
  squares_ = FindSquares(context_, execution_plan);
  for (int32_t i = 0; i < execution_plan.size; ++i) {
    Node* node = nullptr;
    Op op;
    if (FindNode(context_, execution_plan.data()[i], &node, &op)) {
      Read(*node, execution_plan.data()[i], op);
    }
  }
  if (!IsWrittenOnce(context_, execution_plan)) {
    for (Decision& d : decisions_) {
      if (d.reason.empty()) d.reason = "a tensor is written twice, or once it was read";
    }
    return std::move(decisions_);
  }
  JudgeLayers();
  FindSurroundings(execution_plan);
  Groups groups;
  do {
    std::vector<Candidate> candidates;
    for (const Reading& reading : readings_) candidates.push_back(reading.candidate);
    groups = FindGroups(candidates, options_.dense ? 0.0 : options_.min_gain);
  } while (!AllChainsFit(groups));
  Record(groups);
  RecordRegions(execution_plan, static_cast<int32_t>(groups.gain.size()));
  return std::move(decisions_);
}

void Planner::Read(const Node& node, int32_t index, Op op) {
  Decision d;
  d.node = index;
  d.op = op;
  GraphNode read;
  d.reason = std::count(dead_ends_.begin(), dead_ends_.end(), index) > 0
                 ? "no output depends on it"
                 : ReadGraphNode(index, op, node, &read);
  if (d.reason.empty()) {
    d.output_tensor = read.output;
    d.input_dims = DimsOf(*context_, read.inputs[0]);
    d.output_dims = DimsOf(*context_, read.output);
    if (IsRowNode(*context_, read)) {
      ReadRow(read, &d);
    } else if (read.is_layer()) {
      ReadLayerNode(read, &d);
    } else if (IsOperation(op)) {
      ReadOperationNode(read, &d);
    } else {
      ReadOtherNode(read, &d);
    }
  }
  decisions_.push_back(std::move(d));
}

void Planner::ReadLayerNode(const GraphNode& node, Decision* d) {
  d->weight_dims = DimsOf(*context_, node.weights);
  Reading reading;
  Layer& layer = reading.node.layer;
  std::vector<int32_t> output_dims;
  d->reason = ReadLayer(*context_, node, &shapes_, &layer, &output_dims);
  if (!d->reason.empty()) return;
  d->output_dims = output_dims;
  d->macs = layer.macs();
  reading.decision = decisions_.size();
  reading.node.inputs[0] = node.inputs[0];
  reading.node.output = node.output;
  Candidate& c = reading.candidate;
  std::copy_n(node.inputs, 2, c.inputs);
  c.output = node.output;
  c.channels[0] = layer.channels;
  c.channels[1] = layer.outputs;
  readings_.push_back(std::move(reading));
}

// Reads all weights, each layer's on some thread.
void Planner::JudgeLayers() {
  pool_->Run(static_cast<int32_t>(readings_.size()), [this](int32_t i, int32_t) {
    if (decisions_[readings_[i].decision].is_layer()) JudgeLayer(&readings_[i]);
  });
  const auto refused = [this](const Reading& reading) {
    return !decisions_[reading.decision].reason.empty();
  };
  readings_.erase(std::remove_if(readings_.begin(), readings_.end(), refused),
                  readings_.end());
}

void Planner::JudgeLayer(Reading* reading) {
  const Layer& layer = reading->node.layer;
  Decision& d = decisions_[reading->decision];
  d.pattern = FindPattern(layer);
  const KernelChoice alone = ChooseKernel(options_.cpu, options_.isa, layer, d.pattern,
                                          options_.dense, options_.kernel);
  d.isa = IsaName(alone.isa());
  d.kernel = alone.name();
  d.gain = alone.cost.gain();
  const KernelChoice chained =
      ChoosePlaneKernel(options_.cpu, options_.isa, layer, d.pattern, options_.dense);
  if (!FitsMemory(layer, alone, pool_) || !FitsMemory(layer, chained, pool_)) {
    d.reason = "layer too large";
    return;
  }
  reading->node.kernel = chained.planes;
  Candidate& c = reading->candidate;
  c.call = chained.cost.invocation();
  c.xnnpack = chained.cost.xnnpack - c.call;
  c.compute = chained.cost.chained(layer, *chained.planes);
  c.pack = chained.cost.pack;
  c.unpack = chained.cost.unpack;
  // Kernels count in units of their own; gains compare.
  c.alone = chained.cost.xnnpack / alone.cost.gain() - c.call;
  // A kernel of another ISA stood in: its planes may end elsewhere.
  c.in_chain = options_.chains && options_.kernel.empty() &&
               chained.isa() == options_.isa;
}

// Sums, borders and windows gain nothing by themselves: they keep a chain together.
void Planner::ReadOtherNode(const GraphNode& node, Decision* d) {
  Reading reading;
  std::vector<int32_t> dims;
  d->reason = ReadChainNode(*context_, node, &shapes_, &reading.node, &dims);
  if (!d->reason.empty()) return;
  if (reading.node.broadcasts()) d->reason = "broadcasts";
  if (!d->reason.empty()) return;
  d->isa = IsaName(options_.isa);
  d->kernel = "planes";
  if (!options_.chains) {
    d->reason = "option chains";
    return;
  }
  reading.decision = decisions_.size();
  int64_t rows = 1;
  for (size_t i = 0; i + 1 < dims.size(); ++i) rows *= dims[i];
  const int64_t channels = dims.back();
  const Cost cost = EstimateCost(options_.isa, reading.node, rows, channels);
  Candidate& c = reading.candidate;
  std::copy_n(node.inputs, 2, c.inputs);
  c.output = node.output;
  c.channels[0] = c.channels[1] = static_cast<int32_t>(channels);
  c.xnnpack = cost.xnnpack;
  c.compute = cost.compute;
  c.pack = cost.pack;
  c.unpack = cost.unpack;
  d->gain = cost.gain();
  readings_.push_back(std::move(reading));
}

void Planner::ReadOperationNode(const GraphNode& node, Decision* d) {
  OperationShape shape;
  std::vector<int32_t> output_dims;
  d->reason = ReadOperation(*context_, node, &shapes_, &shape, &output_dims);
  if (!d->reason.empty()) return;
  d->output_dims = output_dims;
  d->macs = shape.macs();
  d->isa = IsaName(options_.isa);
  d->kernel = KernelOf(node.op);
  if (!shape.matmul.repeated[0].empty()) {
    d->reason = "broadcasts";
    return;
  }
  if (node.op == Op::kBatchMatmul &&
      !BatchMatmul::FitsMemory(shape.matmul, options_.isa, *pool_)) {
    d->reason = "operator too large";
    return;
  }
  if (node.op == Op::kSoftmax && !Softmax::FitsMemory(shape.softmax, *pool_)) {
    d->reason = "operator too large";
    return;
  }
  const Cost cost = EstimateCost(options_.cpu, options_.isa, shape);
  d->gain = cost.gain();
  Reading reading;
  reading.decision = decisions_.size();
  Candidate& c = reading.candidate;
  std::copy_n(node.inputs, 2, c.inputs);
  c.output = node.output;
  c.xnnpack = cost.xnnpack;
  c.alone = cost.ours();
  c.in_chain = false;
  readings_.push_back(std::move(reading));
}

void Planner::ReadRow(const GraphNode& node, Decision* d) {
  RowReading reading;
  reading.node = node.index;
  reading.decision = decisions_.size();
  std::vector<int32_t> dims;
  d->reason = ReadRowNode(*context_, node, &shapes_, &reading.read, &dims);
  // Equal to the last bit, but not row by row.
  for (const RowTensor& input : reading.read.inputs) {
    if (!input.row_of.empty()) d->reason = "shapes do not match row by row";
  }
  if (d->reason.empty() && !options_.regions) d->reason = "option regions";
  if (d->reason.empty() &&
      (squares_.count(node.output) > 0 ||
       (node.op == Op::kSum && squares_.count(node.inputs[0]) > 0))) {
    d->reason = "XNNPACK adds up squares without rounding them";
  }
  if (d->reason.empty() && GetRowFunction(options_.cpu.xnnpack) == nullptr) {
    d->reason = "not supported on this CPU";
  }
  // A row and what is made of it have to stay in the cache of one core.
  constexpr int32_t kMaxColumns = 1 << 16;
  if (d->reason.empty() && reading.read.columns() > kMaxColumns) d->reason = "long rows";
  if (!d->reason.empty()) return;
  d->output_dims = dims;
  d->isa = IsaName(options_.cpu.isa);
  d->kernel = "region";
  row_readings_.push_back(std::move(reading));
}

// Who else reads a tensor, and which paths lead through nodes of others, or of ours
// that no chain can take along.
void Planner::FindSurroundings(const IntArray& execution_plan) {
  std::map<int32_t, Reading*> readings;
  for (Reading& reading : readings_) {
    if (!reading.candidate.in_chain) continue;
    readings[decisions_[reading.decision].node] = &reading;
  }
  std::set<int32_t> ours;
  for (const auto& [node, reading] : readings) ours.insert(node);
  const Surroundings found = FindLevels(context_, execution_plan, ours);
  for (const auto& [node, level] : found.levels) readings[node]->candidate.level = level;
  for (Reading& reading : readings_) {
    const int32_t output = reading.candidate.output;
    reading.candidate.output_leaves =
        found.read_by_others.count(output) > 0 || outputs_.count(output) > 0;
  }
}

// A chain whose shapes do not fit each other is taken apart. True if there was none.
bool Planner::AllChainsFit(const Groups& groups) {
  bool all_fit = true;
  for (size_t group = 0; group < groups.gain.size(); ++group) {
    std::vector<ChainNode> nodes;
    for (size_t i = 0; i < readings_.size(); ++i) {
      if (groups.of[i] == static_cast<int32_t>(group)) nodes.push_back(readings_[i].node);
    }
    if (nodes.size() == 1 && nodes[0].is_layer()) continue;
    if (Chain::Fits(std::move(nodes), options_.isa, pool_)) continue;
    all_fit = false;
    for (size_t i = 0; i < readings_.size(); ++i) {
      if (groups.of[i] == static_cast<int32_t>(group)) {
        readings_[i].candidate.in_chain = false;
      }
    }
  }
  return all_fit;
}

void Planner::Record(const Groups& groups) {
  std::vector<int32_t> sizes(groups.gain.size(), 0);
  for (const int32_t group : groups.of) {
    if (group >= 0) ++sizes[group];
  }
  for (size_t i = 0; i < readings_.size(); ++i) {
    Decision& d = decisions_[readings_[i].decision];
    const int32_t group = groups.of[i];
    d.claimed = group >= 0;
    d.group = group;
    if (!d.claimed) {
      d.reason =
          WithGain("predicted gain", d.gain, "below min_gain", options_.min_gain);
    } else if (sizes[group] > 1) {
      if (readings_[i].node.is_layer()) d.kernel = readings_[i].node.kernel->name;
      d.reason = "chain of " + std::to_string(sizes[group]) + ", " +
                 WithGain("predicted gain", groups.gain[group], "alone", d.gain);
    } else {
      d.reason = "predicted gain";
    }
    if (d.claimed && options_.dense) d.reason = "option dense";
  }
}

// Float arithmetic, behind the chains: no node is a candidate for both.
void Planner::RecordRegions(const IntArray& execution_plan, int32_t first_group) {
  for (const RowReading& reading : row_readings_) {
    decisions_[reading.decision].reason = "predicted gain of its region below min_gain";
  }
  int32_t group = first_group;
  const double min_gain = options_.dense ? 0.0 : options_.min_gain;
  for (const PlannedRegion& region :
       FindRegions(context_, execution_plan, row_readings_, outputs_, min_gain)) {
    for (const size_t i : region.members) {
      Decision& d = decisions_[row_readings_[i].decision];
      d.claimed = true;
      d.group = group;
      d.gain = region.gain;
      d.reason = "region of " + std::to_string(region.members.size()) +
                 ", predicted gain";
    }
    ++group;
  }
}

}  // namespace qsparse
