#include "chain/plain_nodes.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace qsparse {
namespace {

int8_t Requantized(uint32_t sum, float scale, const Layer& layer) {
  const float scaled = static_cast<float>(static_cast<int32_t>(sum)) * scale;
  const int64_t value = std::llrint(scaled) + layer.output_zero_point;
  return static_cast<int8_t>(
      std::clamp<int64_t>(value, layer.output_min, layer.output_max));
}

// Calls body(tap, pixel) for every tap of the window that lies inside the image.
template <typename Body>
void ForEachTap(const Layer& layer, int32_t y, int32_t x, const Body& body) {
  for (int32_t ky = 0; ky < layer.kernel_height; ++ky) {
    const int32_t from_y =
        y * layer.stride_height + ky * layer.dilation_height - layer.pad_top;
    if (from_y < 0 || from_y >= layer.height) continue;
    for (int32_t kx = 0; kx < layer.kernel_width; ++kx) {
      const int32_t from_x =
          x * layer.stride_width + kx * layer.dilation_width - layer.pad_left;
      if (from_x < 0 || from_x >= layer.width) continue;
      body(static_cast<size_t>(ky) * layer.kernel_width + kx,
           static_cast<size_t>(from_y) * layer.width + from_x);
    }
  }
}

size_t InputBytes(const ChainNode& node, int side) {
  if (!node.is_add()) {
    const Layer& layer = node.layer;
    return static_cast<size_t>(layer.batch) * layer.height * layer.width *
           layer.channels;
  }
  size_t bytes = 1;
  for (const int32_t dim : node.dims[side]) bytes *= static_cast<size_t>(dim);
  return bytes;
}

size_t OutputBytes(const ChainNode& node) {
  return static_cast<size_t>(node.layer.rows()) * node.layer.outputs;
}

// Bytes from one element to the next along every axis of `output`; zero where the
// operand is repeated.
std::vector<size_t> Strides(const std::vector<int32_t>& operand,
                            const std::vector<int32_t>& output) {
  std::vector<size_t> strides(output.size(), 0);
  size_t stride = 1;
  const size_t missing = output.size() - operand.size();
  for (size_t axis = operand.size(); axis-- > 0;) {
    if (operand[axis] != 1) strides[missing + axis] = stride;
    stride *= static_cast<size_t>(operand[axis]);
  }
  return strides;
}

}  // namespace

std::unique_ptr<PlainNodes> PlainNodes::Create(std::vector<ChainNode> nodes,
                                               const std::vector<int32_t>& inputs,
                                               const std::vector<int32_t>& outputs,
                                               ThreadPool* pool) {
  std::unique_ptr<PlainNodes> plain(new PlainNodes(pool));
  return plain->Connect(std::move(nodes), inputs, outputs) ? std::move(plain) : nullptr;
}

int32_t PlainNodes::Find(int32_t name, size_t bytes) {
  for (size_t i = 0; i < tensors_.size(); ++i) {
    if (tensors_[i].name != name) continue;
    return tensors_[i].bytes == bytes ? static_cast<int32_t>(i) : -1;
  }
  tensors_.emplace_back();
  tensors_.back().name = name;
  tensors_.back().bytes = bytes;
  return static_cast<int32_t>(tensors_.size()) - 1;
}

bool PlainNodes::Connect(std::vector<ChainNode> nodes,
                         const std::vector<int32_t>& inputs,
                         const std::vector<int32_t>& outputs) {
  for (ChainNode& node : nodes) {
    Step step;
    for (int side = 0; side < node.input_count(); ++side) {
      step.inputs[side] = Find(node.inputs[side], InputBytes(node, side));
      if (step.inputs[side] < 0) return false;
    }
    step.output = Find(node.output, OutputBytes(node));
    if (step.output < 0) return false;
    if (node.is_add()) {
      step.add = MakeAddition(node.scales, 0);
      for (int side = 0; side < 2; ++side) {
        step.strides[side] = Strides(node.dims[side], node.output_dims);
      }
    }
    step.node = std::move(node);
    steps_.push_back(std::move(step));
  }
  const auto index_of = [this](int32_t name) {
    const auto found = std::find_if(tensors_.begin(), tensors_.end(),
                                    [&](const Tensor& t) { return t.name == name; });
    return found == tensors_.end() ? -1 : static_cast<int32_t>(found - tensors_.begin());
  };
  for (const int32_t name : inputs) inputs_.push_back(index_of(name));
  for (const int32_t name : outputs) outputs_.push_back(index_of(name));
  std::vector<bool> is_callers(tensors_.size(), false);
  for (const auto* const list : {&inputs_, &outputs_}) {
    for (const int32_t tensor : *list) {
      if (tensor < 0) return false;
      is_callers[tensor] = true;
    }
  }
  for (size_t i = 0; i < tensors_.size(); ++i) {
    if (is_callers[i]) continue;
    tensors_[i].buffer = AllocateAligned(tensors_[i].bytes);
    if (tensors_[i].buffer == nullptr) return false;
    tensors_[i].rows = reinterpret_cast<int8_t*>(tensors_[i].buffer.get());
  }
  return true;
}

void PlainNodes::RunLayer(const Step& step) const {
  const Layer& layer = step.node.layer;
  const int8_t* const input = tensors_[step.inputs[0]].rows;
  int8_t* const output = tensors_[step.output].rows;
  const size_t channels = static_cast<size_t>(layer.channels);
  const size_t image = static_cast<size_t>(layer.height) * layer.width * channels;
  const int32_t lines = layer.batch * layer.out_height;
  pool_->Run(lines, [&](int32_t line, int32_t) {
    const int8_t* const pixels = input + line / layer.out_height * image;
    int8_t* out = output + static_cast<size_t>(line) * layer.out_width * layer.outputs;
    for (int32_t x = 0; x < layer.out_width; ++x) {
      for (int32_t n = 0; n < layer.outputs; ++n, ++out) {
        const int8_t* const weights =
            layer.weights + static_cast<size_t>(n) * layer.taps() * channels;
        // Wraps like the accumulators of the kernels do.
        uint32_t sum = static_cast<uint32_t>(layer.bias[n]);
        ForEachTap(layer, line % layer.out_height, x, [&](size_t tap, size_t pixel) {
          const int8_t* const w = weights + tap * channels;
          const int8_t* const v = pixels + pixel * channels;
          for (size_t c = 0; c < channels; ++c) {
            sum += static_cast<uint32_t>(w[c] * (v[c] - layer.input_zero_point));
          }
        });
        *out = Requantized(sum, layer.scale[n], layer);
      }
    }
  });
}

// A border is a window of one: where it sees nothing of the image, it is the border.
void PlainNodes::RunWindow(const Step& step) const {
  const Layer& layer = step.node.layer;
  const int8_t* const input = tensors_[step.inputs[0]].rows;
  int8_t* const output = tensors_[step.output].rows;
  const size_t channels = static_cast<size_t>(layer.channels);
  const size_t image = static_cast<size_t>(layer.height) * layer.width * channels;
  const int32_t lines = layer.batch * layer.out_height;
  pool_->Run(lines, [&](int32_t line, int32_t) {
    const int8_t* const pixels = input + line / layer.out_height * image;
    int8_t* out = output + static_cast<size_t>(line) * layer.out_width * channels;
    for (int32_t x = 0; x < layer.out_width; ++x, out += channels) {
      bool any = false;
      std::fill_n(out, channels, static_cast<int8_t>(step.node.border));
      ForEachTap(layer, line % layer.out_height, x, [&](size_t, size_t pixel) {
        const int8_t* const v = pixels + pixel * channels;
        for (size_t c = 0; c < channels; ++c) {
          out[c] = any ? std::max(out[c], v[c]) : v[c];
        }
        any = true;
      });
    }
  });
}

void PlainNodes::RunAddition(const Step& step) const {
  const ChainNode& node = step.node;
  const std::vector<int32_t>& dims = node.output_dims;
  const AddFunction function = GetAdd(Isa::kPortable, 0);
  const auto& strides = step.strides;
  const int32_t columns = dims.back();
  const auto rows = static_cast<int32_t>(OutputBytes(node) / columns);
  pool_->Run(rows, [&](int32_t row, int32_t) {
    const int8_t* operands[2];
    for (int side = 0; side < 2; ++side) {
      size_t offset = 0;
      int32_t rest = row;
      for (size_t axis = dims.size() - 1; axis-- > 0; rest /= dims[axis]) {
        offset += static_cast<size_t>(rest % dims[axis]) * strides[side][axis];
      }
      operands[side] = tensors_[step.inputs[side]].rows + offset;
    }
    int8_t* const out =
        tensors_[step.output].rows + static_cast<size_t>(row) * columns;
    AddArgs args = {};
    args.planes = 1;
    if (strides[0].back() == strides[1].back() || columns == 1) {
      for (int side = 0; side < 2; ++side) {
        args.operands[side] = reinterpret_cast<const uint8_t*>(operands[side]);
      }
      args.out = reinterpret_cast<uint8_t*>(out);
      args.bytes = static_cast<size_t>(columns);
      return function(step.add, args);
    }
    for (int32_t i = 0; i < columns; ++i) {
      for (int side = 0; side < 2; ++side) {
        args.operands[side] = reinterpret_cast<const uint8_t*>(
            operands[side] + i * strides[side].back());
      }
      args.out = reinterpret_cast<uint8_t*>(out + i);
      args.bytes = 1;
      function(step.add, args);
    }
  });
}

void PlainNodes::RunStep(const Step& step) const {
  if (step.node.is_layer()) return RunLayer(step);
  step.node.is_add() ? RunAddition(step) : RunWindow(step);
}

void PlainNodes::Run(const int8_t* const* inputs, int8_t* const* outputs) {
  for (size_t i = 0; i < inputs_.size(); ++i) {
    // Only ever read: steps write to rows of outputs alone.
    tensors_[inputs_[i]].rows = const_cast<int8_t*>(inputs[i]);
  }
  for (size_t i = 0; i < outputs_.size(); ++i) tensors_[outputs_[i]].rows = outputs[i];
  for (const Step& step : steps_) RunStep(step);
}

}  // namespace qsparse
