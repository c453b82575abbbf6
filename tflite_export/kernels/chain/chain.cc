#include "chain/chain.h"

#include <algorithm>
#include <set>
#include <utility>

#include "blocks/kernel_table.h"

namespace qsparse {
namespace {

int32_t RoundUp(int32_t value, int32_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

bool IsSpatial(const ChainNode& node) {
  const Layer& layer = node.layer;
  return !node.is_layer() || layer.taps() > 1 || layer.stride_height > 1 ||
         layer.stride_width > 1;
}

int32_t InputPositions(const Layer& layer) {
  return layer.batch * layer.height * layer.width;
}

// False where the reader has padding of its own, or would not look over all of it.
bool TakeBorder(const ChainNode& border, ChainNode* reader) {
  const Layer& pad = border.layer;
  Layer& layer = reader->layer;
  if (reader->is_add() || layer.channels != pad.channels ||
      layer.height != pad.out_height || layer.width != pad.out_width ||
      layer.pad_top + layer.pad_bottom + layer.pad_left + layer.pad_right != 0 ||
      std::max(pad.pad_top, pad.pad_bottom) >= layer.kernel_height ||
      std::max(pad.pad_left, pad.pad_right) >= layer.kernel_width) {
    return false;
  }
  layer.height = pad.height;
  layer.width = pad.width;
  layer.pad_top = pad.pad_top;
  layer.pad_bottom = pad.pad_bottom;
  layer.pad_left = pad.pad_left;
  layer.pad_right = pad.pad_right;
  reader->border = border.border;
  return true;
}

AddScales Swapped(AddScales scales) {
  std::swap(scales.ratio[0], scales.ratio[1]);
  std::swap(scales.input_zero_point[0], scales.input_zero_point[1]);
  return scales;
}

}  // namespace

Chain::Chain(Isa isa, ThreadPool* pool)
    : isa_(isa), kernel_(ChainKernel(isa)), pool_(pool) {}

std::unique_ptr<Chain> Chain::Create(std::vector<ChainNode> nodes,
                                     const std::vector<int32_t>& inputs,
                                     const std::vector<int32_t>& outputs, Isa isa,
                                     bool all_blocks, ThreadPool* pool) {
  std::unique_ptr<Chain> chain(new Chain(isa, pool));
  FuseBorders(outputs, &nodes);
  if (!chain->SplitImages(&nodes) || !chain->FindTensors(nodes, inputs, outputs)) {
    return nullptr;
  }
  chain->ChoosePlanes(nodes);
  if (!chain->PlanLayers(nodes) || !chain->MakeSteps(nodes) ||
      !chain->AssignBuffers() || !chain->HasPlaces()) {
    return nullptr;
  }
  chain->PackWeights(nodes, all_blocks);
  return chain;
}

bool Chain::Fits(std::vector<ChainNode> nodes, Isa isa, ThreadPool* pool) {
  Chain chain(isa, pool);
  FuseBorders({}, &nodes);
  std::vector<int32_t> inputs;
  std::set<int32_t> produced;
  for (const ChainNode& node : nodes) {
    for (int side = 0; side < node.input_count(); ++side) {
      if (produced.count(node.inputs[side]) == 0) inputs.push_back(node.inputs[side]);
    }
    produced.insert(node.output);
  }
  if (!chain.SplitImages(&nodes) || !chain.FindTensors(nodes, inputs, {})) return false;
  chain.ChoosePlanes(nodes);
  return chain.PlanLayers(nodes);
}

// A border is read as padding by the convolution or window behind it, if nothing else sees it.
void Chain::FuseBorders(const std::vector<int32_t>& outputs,
                        std::vector<ChainNode>* nodes) {
  std::vector<ChainNode> kept;
  for (size_t i = 0; i < nodes->size(); ++i) {
    const ChainNode& pad = (*nodes)[i];
    ChainNode* reader = nullptr;
    int32_t readers = std::count(outputs.begin(), outputs.end(), pad.output) > 0 ? 2 : 0;
    for (size_t j = i + 1; j < nodes->size(); ++j) {
      ChainNode& node = (*nodes)[j];
      for (int side = 0; side < node.input_count(); ++side) {
        if (node.inputs[side] != pad.output) continue;
        reader = &node;
        ++readers;
      }
    }
    if (pad.kind != ChainNode::Kind::kPad || readers != 1 ||
        !TakeBorder(pad, reader)) {
      kept.push_back(pad);
      continue;
    }
    reader->inputs[0] = pad.inputs[0];
  }
  *nodes = std::move(kept);
}

// Neighbourhoods end at the edge of an image, so images go through one by one.
bool Chain::SplitImages(std::vector<ChainNode>* nodes) {
  for (const ChainNode& node : *nodes) {
    if (!node.is_add() && IsSpatial(node)) images_ = node.layer.batch;
  }
  for (ChainNode& node : *nodes) {
    if (node.layer.batch % images_ != 0) return false;
    node.layer.batch /= images_;
  }
  return true;
}

int32_t Chain::IndexOf(int32_t name) const {
  for (size_t i = 0; i < tensors_.size(); ++i) {
    if (tensors_[i].name == name) return static_cast<int32_t>(i);
  }
  return -1;
}

// False where the producer and a consumer see a tensor differently.
bool Chain::Describe(int32_t tensor, int32_t channels, int32_t positions) {
  PlaneFormat& format = tensors_[tensor].format;
  if (format.channels == 0) {
    format.channels = channels;
    format.positions = positions;
  }
  return format.channels == channels && format.positions == positions;
}

bool Chain::FindTensors(const std::vector<ChainNode>& nodes,
                        const std::vector<int32_t>& inputs,
                        const std::vector<int32_t>& outputs) {
  const auto add_tensor = [this](int32_t name) {
    if (IndexOf(name) < 0) {
      tensors_.emplace_back();
      tensors_.back().name = name;
    }
    return IndexOf(name);
  };
  for (const int32_t name : inputs) inputs_.push_back(add_tensor(name));
  for (size_t i = 0; i < nodes.size(); ++i) {
    const ChainNode& node = nodes[i];
    if (node.broadcasts() || IndexOf(node.output) >= 0) return false;
    const int32_t output = add_tensor(node.output);
    tensors_[output].producer = static_cast<int32_t>(i);
    for (int side = 0; side < node.input_count(); ++side) {
      const int32_t input = IndexOf(node.inputs[side]);
      if (input < 0) return false;
      tensors_[input].consumers.push_back(static_cast<int32_t>(i));
    }
  }
  for (const int32_t name : outputs) {
    const int32_t output = IndexOf(name);
    if (output < 0 || tensors_[output].producer < 0) return false;
    tensors_[output].is_output = true;
    outputs_.push_back(output);
  }
  for (const ChainNode& node : nodes) {
    const Layer& layer = node.layer;
    for (int side = 0; side < node.input_count(); ++side) {
      const int32_t input = IndexOf(node.inputs[side]);
      if (!Describe(input, layer.channels, InputPositions(layer))) return false;
      if (node.is_add()) continue;
      tensors_[input].format.padding =
          static_cast<uint8_t>(layer.input_zero_point) ^ FlipOf(kernel_);
    }
    if (!Describe(IndexOf(node.output), layer.outputs,
                  static_cast<int32_t>(layer.rows()))) {
      return false;
    }
  }
  return true;
}

// Rows stay rows where a single layer packs or unpacks them tile by tile.
void Chain::ChoosePlanes(const std::vector<ChainNode>& nodes) {
  for (Tensor& tensor : tensors_) {
    // Only layers know rows.
    const auto is_other = [&](int32_t node) { return !nodes[node].is_layer(); };
    const bool others = std::any_of(tensor.consumers.begin(), tensor.consumers.end(),
                                    is_other) ||
                        (tensor.producer >= 0 && is_other(tensor.producer));
    const size_t readers = tensor.consumers.size();
    tensor.in_planes = others || (tensor.producer < 0 ? readers > 1 : readers > 0);
    const int32_t vector = RoundUp(tensor.format.positions, kernel_.lanes);
    tensor.format.Widen(0, vector - tensor.format.positions);
  }
}

bool Chain::PlanLayers(const std::vector<ChainNode>& nodes) {
  planned_.resize(nodes.size());
  for (size_t i = 0; i < nodes.size(); ++i) {
    if (!nodes[i].is_layer()) continue;
    planned_[i] =
        PlaneLayer::Plan(nodes[i].layer, *nodes[i].kernel, /*in_chain=*/true, pool_);
    if (planned_[i] == nullptr) return false;
    planned_[i]->WidenInput(&tensors_[IndexOf(nodes[i].inputs[0])].format);
    planned_[i]->WidenOutput(&tensors_[IndexOf(nodes[i].output)].format);
  }
  FuseAdditions(nodes);
  return true;
}

// A sum is done by the layer that makes one of its sides, if nobody else reads that
// side and the other one is there by then.
void Chain::FuseAdditions(const std::vector<ChainNode>& nodes) {
  added_by_.assign(nodes.size(), -1);
  adds_.assign(nodes.size(), -1);
  for (size_t i = 0; i < nodes.size(); ++i) {
    if (!nodes[i].is_add() || nodes[i].inputs[0] == nodes[i].inputs[1]) continue;
    const Tensor* sides[] = {&tensors_[IndexOf(nodes[i].inputs[0])],
                             &tensors_[IndexOf(nodes[i].inputs[1])]};
    if (sides[0]->producer < sides[1]->producer) std::swap(sides[0], sides[1]);
    const int32_t layer = sides[0]->producer;
    if (layer < 0 || !nodes[layer].is_layer() || sides[0]->consumers.size() != 1 ||
        sides[0]->is_output || !planned_[layer]->CanAddResidual()) {
      continue;
    }
    added_by_[i] = layer;
    adds_[layer] = static_cast<int32_t>(i);
    planned_[layer]->WidenOutput(&tensors_[IndexOf(nodes[i].output)].format);
    planned_[layer]->WidenOutput(&tensors_[IndexOf(sides[1]->name)].format);
  }
}

void Chain::AddTransfer(Kind kind, int32_t tensor) {
  Step step;
  step.kind = kind;
  (kind == Kind::kPack ? step.output : step.inputs[0]) = tensor;
  step.rows = PositionsInOrder(tensors_[tensor].format, kernel_.lanes);
  steps_.push_back(std::move(step));
}

bool Chain::MakeSteps(const std::vector<ChainNode>& nodes) {
  int32_t widest = 0;
  for (const int32_t input : inputs_) {
    if (tensors_[input].in_planes) AddTransfer(Kind::kPack, input);
    widest = std::max(widest, tensors_[input].format.channels);
  }
  pad_row_.assign(widest + kCacheLine, 0);
  for (size_t i = 0; i < nodes.size(); ++i) {
    const ChainNode& node = nodes[i];
    if (added_by_[i] >= 0) continue;
    Step step;
    step.output = IndexOf(node.output);
    for (int side = 0; side < node.input_count(); ++side) {
      step.inputs[side] = IndexOf(node.inputs[side]);
    }
    if (node.is_layer()) {
      if (!MakeLayer(nodes, i, &step)) return false;
    } else if (node.is_add()) {
      step.kind = Kind::kAdd;
      step.add = MakeAddition(node.scales, FlipOf(kernel_));
    } else if (!MakePool(node, &step)) {
      return false;
    }
    const int32_t made = step.output;
    steps_.push_back(std::move(step));
    if (tensors_[made].is_output && tensors_[made].in_planes) {
      AddTransfer(Kind::kUnpack, made);
    }
  }
  return true;
}

bool Chain::MakeLayer(const std::vector<ChainNode>& nodes, size_t index, Step* step) {
  const ChainNode& node = nodes[index];
  const ChainNode* const sum = adds_[index] >= 0 ? &nodes[adds_[index]] : nullptr;
  if (sum != nullptr) step->output = IndexOf(sum->output);
  const Tensor& input = tensors_[step->inputs[0]];
  const Tensor& output = tensors_[step->output];
  step->kind = Kind::kLayer;
  step->node = index;
  step->layer = std::move(planned_[index]);
  if (!step->layer->Connect(node.layer, input.in_planes ? &input.format : nullptr,
                            output.in_planes ? &output.format : nullptr)) {
    return false;
  }
  if (sum == nullptr) return true;
  const bool is_first = sum->inputs[0] == node.output;
  step->inputs[1] = IndexOf(sum->inputs[is_first ? 1 : 0]);
  const AddScales scales = is_first ? sum->scales : Swapped(sum->scales);
  step->layer->AddResidual(MakeAddition(scales, FlipOf(kernel_)),
                           tensors_[step->inputs[1]].format);
  return true;
}

bool Chain::MakePool(const ChainNode& node, Step* step) const {
  const uint8_t flip = FlipOf(kernel_);
  step->kind = Kind::kPool;
  step->pool = std::make_unique<Pool>(node.layer, static_cast<uint8_t>(node.border) ^ flip,
                                      flip, pool_);
  return step->pool->Allocate(tensors_[step->inputs[0]].format,
                              tensors_[step->output].format);
}

void Chain::PackWeights(const std::vector<ChainNode>& nodes, bool all_blocks) {
  pool_->Run(static_cast<int32_t>(steps_.size()), [&](int32_t i, int32_t) {
    const Step& step = steps_[i];
    if (step.layer == nullptr) return;
    step.layer->PackWeights(nodes[step.node].layer, all_blocks);
  });
}

// A buffer is free again once the last step that reads its tensor is done.
bool Chain::AssignBuffers() {
  std::vector<size_t> last_step(tensors_.size(), 0);
  for (size_t i = 0; i < steps_.size(); ++i) {
    for (const int32_t tensor : {steps_[i].inputs[0], steps_[i].inputs[1]}) {
      if (tensor >= 0) last_step[tensor] = i;
    }
  }
  std::vector<size_t> sizes;
  std::vector<bool> taken;
  for (size_t i = 0; i < steps_.size(); ++i) {
    const int32_t output = steps_[i].output;
    if (output >= 0 && tensors_[output].in_planes) {
      const size_t bytes = tensors_[output].format.bytes();
      int32_t best = -1;
      for (size_t b = 0; b < sizes.size(); ++b) {
        if (taken[b]) continue;
        const auto misfit = [&](size_t size) { return std::max(size, bytes); };
        if (best < 0 || misfit(sizes[b]) < misfit(sizes[best])) {
          best = static_cast<int32_t>(b);
        }
      }
      if (best < 0) {
        best = static_cast<int32_t>(sizes.size());
        sizes.push_back(0);
        taken.push_back(false);
      }
      sizes[best] = std::max(sizes[best], bytes);
      taken[best] = true;
      tensors_[output].buffer = best;
    }
    for (const int32_t tensor : {steps_[i].inputs[0], steps_[i].inputs[1]}) {
      if (tensor >= 0 && tensors_[tensor].in_planes && last_step[tensor] == i) {
        taken[tensors_[tensor].buffer] = false;
      }
    }
  }
  for (const size_t size : sizes) {
    buffers_.push_back(AllocateAligned(size));
    if (buffers_.back() == nullptr) return false;
  }
  return true;
}

// Whether every tensor that a step reads or writes lies somewhere: in a buffer, or in
// rows of the caller.
bool Chain::HasPlaces() const {
  const auto has_place = [this](int32_t tensor) {
    if (tensor < 0) return true;
    const Tensor& t = tensors_[tensor];
    if (t.in_planes) return t.buffer >= 0;
    return t.producer < 0 || t.is_output;
  };
  return std::all_of(steps_.begin(), steps_.end(), [&](const Step& step) {
    return has_place(step.inputs[0]) && has_place(step.inputs[1]) &&
           has_place(step.output);
  });
}

}  // namespace qsparse
