#include "regions/region.h"

#include <algorithm>
#include <map>

#include "base/denormals.h"
#include "regions/fuse.h"

namespace qsparse {
namespace {

size_t RoundUp(size_t bytes) { return (bytes + kCacheLine - 1) / kCacheLine * kCacheLine; }

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
  std::unique_ptr<Region> region(new Region(function, pool));
  if (!region->Add(Fuse(nodes, outputs), inputs, outputs)) return nullptr;
  const auto threads = static_cast<size_t>(pool->threads());
  region->scratch_ = AllocateAligned(region->scratch_bytes_ * threads);
  if (region->scratch_ == nullptr) return nullptr;
  return region;
}

bool Region::Add(const std::vector<RowNode>& nodes, const std::vector<int32_t>& inputs,
                 const std::vector<int32_t>& outputs) {
  for (const RowNode& node : nodes) rows_ = std::max(rows_, node.rows());
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
    if (rows_ % read.rows() != 0) return false;
    Node node;
    node.input_count = read.input_count;
    node.step.op = read.op;
    node.step.columns = read.columns();
    node.step.scale = read.op == RowOp::kQuantize ? 1.0f / read.scale : read.scale;
    node.step.zero_point = read.zero_point;
    for (int k = 0; k < read.input_count; ++k) {
      const RowTensor& tensor = read.inputs[k];
      if (rows_ % tensor.rows != 0) return false;
      Operand& operand = node.inputs[k];
      const auto made = known.find(tensor.index);
      const auto given = std::find(inputs.begin(), inputs.end(), tensor.index);
      if (made != known.end()) {
        operand = made->second;
        if (operand.row_bytes != RowBytes(tensor) || tensor.rows != operand.rows) {
          return false;
        }
        continue;
      }
      operand.rows = tensor.rows;
      operand.row_bytes = RowBytes(tensor);
      if (tensor.constant != nullptr) {
        operand.place = Place::kConstant;
        operand.constant = tensor.constant;
      } else if (given == inputs.end()) {
        return false;
      } else {
        operand.place = Place::kInput;
        operand.at = static_cast<size_t>(given - inputs.begin());
      }
      if (given != inputs.end()) {
        bytes_[0][given - inputs.begin()] = static_cast<size_t>(tensor.bytes());
      }
    }
    if (IsBinary(read.op) && read.inputs[0].columns != read.inputs[1].columns) {
      node.step.spread = read.inputs[0].columns == 1 ? Spread::kLeft : Spread::kRight;
    }
    node.output.rows = read.rows();
    node.output.row_bytes = RowBytes(read.output);
    const auto leaves = std::find(outputs.begin(), outputs.end(), read.output.index);
    if (leaves != outputs.end()) {
      node.output.place = Place::kOutput;
      node.output.at = static_cast<size_t>(leaves - outputs.begin());
      bytes_[1][node.output.at] = static_cast<size_t>(read.output.bytes());
      if (read.rows() != rows_) task_rows_ = rows_;
    } else {
      node.output.at = scratch.Take(static_cast<size_t>(node.output.row_bytes));
    }
    for (int k = 0; k < read.input_count; ++k) {
      const Operand& operand = node.inputs[k];
      const bool twice = std::any_of(
          read.inputs, read.inputs + k,
          [&](const RowTensor& other) { return other.index == read.inputs[k].index; });
      if (operand.place == Place::kScratch && last_read[read.inputs[k].index] == i &&
          !twice) {
        scratch.Give(operand.at, static_cast<size_t>(operand.row_bytes));
      }
    }
    if (!known.emplace(read.output.index, node.output).second) return false;
    nodes_.push_back(node);
  }
  scratch_bytes_ = scratch.bytes();
  return true;
}

void Region::Run(const int8_t* const* inputs, int8_t* const* outputs) {
  const auto tasks = static_cast<int32_t>((rows_ + task_rows_ - 1) / task_rows_);
  pool_->Run(tasks, [&](int32_t task, int32_t thread) {
    const DenormalsAreZero denormals_are_zero;
    uint8_t* const scratch =
        scratch_.get() + static_cast<size_t>(thread) * scratch_bytes_;
    const int64_t last = std::min(rows_, (int64_t{task} + 1) * task_rows_);
    for (int64_t row = int64_t{task} * task_rows_; row < last; ++row) {
      RunRow(row, inputs, outputs, scratch);
    }
  });
}

void Region::RunRow(int64_t row, const int8_t* const* inputs, int8_t* const* outputs,
                    uint8_t* scratch) {
  const auto place = [&](const Operand& operand) -> const void* {
    const int64_t offset =
        (operand.rows == rows_ ? row : row % operand.rows) * operand.row_bytes;
    switch (operand.place) {
      case Place::kInput:
        return inputs[operand.at] + offset;
      case Place::kOutput:
        return outputs[operand.at] + offset;
      case Place::kConstant:
        return static_cast<const int8_t*>(operand.constant) + offset;
      default:
        return scratch + operand.at;
    }
  };
  for (Node& node : nodes_) {
    RowStep step = node.step;
    for (int k = 0; k < node.input_count; ++k) step.inputs[k] = place(node.inputs[k]);
    step.output = const_cast<void*>(place(node.output));
    function_(step);
  }
}

}  // namespace qsparse
