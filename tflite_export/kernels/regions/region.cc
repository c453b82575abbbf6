#include "regions/region.h"

#include <algorithm>
#include <map>
#include <utility>

#include "base/denormals.h"
#include "regions/fuse.h"

namespace qsparse {
namespace {

size_t RoundUp(size_t bytes) { return (bytes + kCacheLine - 1) / kCacheLine * kCacheLine; }

constexpr int64_t kTaskRows = 8;

int64_t RowBytes(const RowTensor& tensor) { return tensor.bytes() / tensor.rows; }

bool IsBinary(RowOp op) {
  return op == RowOp::kAdd || op == RowOp::kSubtract || op == RowOp::kMultiply ||
         op == RowOp::kSquaredDifference;
}

// Places for rows that are read again; one that nothing reads any more is given away.
class Scratch {
 public:
  size_t Take(size_t bytes) {
    bytes = RoundUp(bytes);
    for (auto free = free_.begin(); free != free_.end(); ++free) {
      if (free->second != bytes) continue;
      const size_t at = free->first;
      free_.erase(free);
      return at;
    }
    const size_t at = bytes_;
    bytes_ += bytes;
    return at;
  }
  void Give(size_t at, size_t bytes) { free_.emplace(at, RoundUp(bytes)); }
  size_t bytes() const { return bytes_; }

 private:
  std::map<size_t, size_t> free_;
  size_t bytes_ = 0;
};

}  // namespace

std::unique_ptr<Runnable> Region::Create(const std::vector<RowNode>& nodes,
                                         const std::vector<int32_t>& inputs,
                                         const std::vector<int32_t>& outputs,
                                         RowFunction function, ThreadPool* pool) {
  if (function == nullptr || nodes.empty()) return nullptr;
  const bool row_by_row = std::all_of(nodes.begin(), nodes.end(), [&](const auto& node) {
    return node.rows() == nodes[0].rows() && node.inputs[0].row_of.empty() &&
           node.inputs[1].row_of.empty();
  });
  std::unique_ptr<Region> region(new Region(row_by_row, function, pool));
  if (!region->Add(row_by_row ? Fuse(nodes, outputs) : nodes, inputs, outputs)) {
    return nullptr;
  }
  const auto threads = static_cast<size_t>(row_by_row ? pool->threads() : 1);
  region->scratch_ = AllocateAligned(region->scratch_bytes_ * threads);
  if (region->scratch_ == nullptr) return nullptr;
  return region;
}

size_t Region::ScratchBytes(const Operand& operand) const {
  return static_cast<size_t>(operand.row_bytes * (row_by_row_ ? 1 : operand.rows));
}

// Of a tensor that no node before it makes.
bool Region::PlaceInput(const RowTensor& tensor, const std::vector<int32_t>& inputs,
                        Operand* operand) {
  const auto given = std::find(inputs.begin(), inputs.end(), tensor.index);
  operand->rows = tensor.rows;
  operand->row_bytes = RowBytes(tensor);
  if (given != inputs.end()) {
    operand->place = Place::kInput;
    operand->at = static_cast<size_t>(given - inputs.begin());
    bytes_[0][operand->at] = static_cast<size_t>(tensor.bytes());
  }
  if (tensor.constant != nullptr) {
    operand->place = Place::kConstant;
    operand->constant = tensor.constant;
  }
  return operand->place != Place::kScratch;
}

bool Region::Add(const std::vector<RowNode>& nodes, const std::vector<int32_t>& inputs,
                 const std::vector<int32_t>& outputs) {
  std::map<int32_t, Operand> known;
  std::map<int32_t, size_t> last_read;  // node
  bytes_[0].assign(inputs.size(), 0);
  bytes_[1].assign(outputs.size(), 0);
  for (size_t i = 0; i < nodes.size(); ++i) {
    for (int k = 0; k < nodes[i].input_count; ++k) last_read[nodes[i].inputs[k].index] = i;
  }
  Scratch scratch;
  for (size_t i = 0; i < nodes.size(); ++i) {
    const RowNode& read = nodes[i];
    Node node;
    node.rows = read.rows();
    node.input_count = read.input_count;
    node.step.op = read.op;
    node.step.columns = read.columns();
    node.step.scale = read.op == RowOp::kQuantize ? 1.0f / read.scale : read.scale;
    node.step.zero_point = read.zero_point;
    if (IsBinary(read.op) && read.inputs[0].columns != read.inputs[1].columns) {
      node.step.spread = read.inputs[0].columns == 1 ? Spread::kLeft : Spread::kRight;
    }
    std::map<int32_t, Operand> read_last;
    for (int k = 0; k < read.input_count; ++k) {
      const RowTensor& tensor = read.inputs[k];
      Operand& operand = node.inputs[k];
      const auto made = known.find(tensor.index);
      if (made != known.end()) operand = made->second;
      if (made == known.end() && !PlaceInput(tensor, inputs, &operand)) return false;
      if (operand.row_bytes != RowBytes(tensor) || operand.rows != tensor.rows) {
        return false;
      }
      operand.row_of = tensor.row_of;
      if (operand.place == Place::kScratch && last_read[tensor.index] == i) {
        read_last[tensor.index] = operand;
      }
    }
    node.output.rows = read.rows();
    node.output.row_bytes = RowBytes(read.output);
    const auto leaves = std::find(outputs.begin(), outputs.end(), read.output.index);
    if (leaves != outputs.end()) {
      node.output.place = Place::kOutput;
      node.output.at = static_cast<size_t>(leaves - outputs.begin());
      bytes_[1][node.output.at] = static_cast<size_t>(read.output.bytes());
    } else {
      node.output.at = scratch.Take(ScratchBytes(node.output));
    }
    for (const auto& [tensor, operand] : read_last) {
      scratch.Give(operand.at, ScratchBytes(operand));
    }
    if (!known.emplace(read.output.index, node.output).second) return false;
    nodes_.push_back(std::move(node));
  }
  scratch_bytes_ = scratch.bytes();
  return true;
}

void Region::Run(const int8_t* const* inputs, int8_t* const* outputs) {
  const Caller caller = {inputs, outputs};
  // Calls body(row, thread) for every row, some of them a task.
  const auto for_each_row = [&](int64_t rows, const auto& body) {
    const auto tasks = static_cast<int32_t>((rows + kTaskRows - 1) / kTaskRows);
    pool_->Run(tasks, [&](int32_t task, int32_t thread) {
      const DenormalsAreZero denormals_are_zero;
      const int64_t last = std::min(rows, (int64_t{task} + 1) * kTaskRows);
      for (int64_t row = int64_t{task} * kTaskRows; row < last; ++row) body(row, thread);
    });
  };
  if (!row_by_row_) {
    for (const Node& node : nodes_) {
      for_each_row(node.rows, [&](int64_t row, int32_t) {
        RunNode(node, row, caller, scratch_.get());
      });
    }
    return;
  }
  for_each_row(nodes_[0].rows, [&](int64_t row, int32_t thread) {
    uint8_t* const scratch =
        scratch_.get() + static_cast<size_t>(thread) * scratch_bytes_;
    for (const Node& node : nodes_) RunNode(node, row, caller, scratch);
  });
}

const void* Region::Find(const Node& node, const Operand& operand, int64_t row,
                         const Caller& caller, uint8_t* scratch) const {
  if (row_by_row_ && operand.place == Place::kScratch) return scratch + operand.at;
  if (!operand.row_of.empty()) {
    row = operand.row_of[row];
  } else if (operand.rows != node.rows) {
    row %= operand.rows;
  }
  const int64_t offset = row * operand.row_bytes;
  switch (operand.place) {
    case Place::kInput:
      return caller.inputs[operand.at] + offset;
    case Place::kOutput:
      return caller.outputs[operand.at] + offset;
    case Place::kConstant:
      return static_cast<const int8_t*>(operand.constant) + offset;
    default:
      return scratch + operand.at + offset;
  }
}

void Region::RunNode(const Node& node, int64_t row, const Caller& caller,
                     uint8_t* scratch) const {
  RowStep step = node.step;
  for (int k = 0; k < node.input_count; ++k) {
    step.inputs[k] = Find(node, node.inputs[k], row, caller, scratch);
  }
  step.output = const_cast<void*>(Find(node, node.output, row, caller, scratch));
  function_(step);
}

}  // namespace qsparse
