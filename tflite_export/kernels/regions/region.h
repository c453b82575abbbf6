// Float arithmetic on rows, from what is read outside to what is read outside: a row goes
// through all nodes before the next one begins, and stays in the cache.
#ifndef QSPARSE_REGIONS_REGION_H_
#define QSPARSE_REGIONS_REGION_H_

#include <memory>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/thread_pool.h"
#include "graph/row_node.h"
#include "layers/runnable.h"
#include "regions/row_math.h"

namespace qsparse {

class Region final : public Runnable {
 public:
  // Nodes in the order they run, and the tensors that come from outside and leave. Null
  // where a tensor would be read that nobody makes, or where memory ends.
  static std::unique_ptr<Runnable> Create(const std::vector<RowNode>& nodes,
                                          const std::vector<int32_t>& inputs,
                                          const std::vector<int32_t>& outputs,
                                          RowFunction function, ThreadPool* pool);

  void Run(const int8_t* const* inputs, int8_t* const* outputs) override;
  size_t input_bytes(size_t i) const override { return bytes_[0][i]; }
  size_t output_bytes(size_t i) const override { return bytes_[1][i]; }

 private:
  enum class Place : uint8_t { kInput, kOutput, kConstant, kScratch };
  struct Operand {
    Place place = Place::kScratch;
    size_t at = 0;  // which input or output, or bytes into the scratch
    const void* constant = nullptr;
    int64_t rows = 1;
    int64_t row_bytes = 0;
    std::vector<int32_t> row_of;  // as of RowTensor
  };
  struct Node {
    RowStep step;
    int64_t rows = 0;
    int32_t input_count = 1;
    Operand inputs[4];
    Operand output;
  };
  struct Caller {
    const int8_t* const* inputs;
    int8_t* const* outputs;
  };

  Region(bool row_by_row, RowFunction function, ThreadPool* pool)
      : row_by_row_(row_by_row), function_(function), pool_(pool) {}
  bool Add(const std::vector<RowNode>& nodes, const std::vector<int32_t>& inputs,
           const std::vector<int32_t>& outputs);
  bool PlaceInput(const RowTensor& tensor, const std::vector<int32_t>& inputs,
                  Operand* operand);
  size_t ScratchBytes(const Operand& operand) const;
  const void* Find(const Node& node, const Operand& operand, int64_t row,
                   const Caller& caller, uint8_t* scratch) const;
  void RunNode(const Node& node, int64_t row, const Caller& caller,
               uint8_t* scratch) const;

  // Shapes may change after nodes were claimed, so that rows do not go together any
  // more. Then nodes run one after the other, over whole tensors.
  const bool row_by_row_;
  const RowFunction function_;
  ThreadPool* const pool_;
  std::vector<Node> nodes_;
  std::vector<size_t> bytes_[2];
  size_t scratch_bytes_ = 0;  // of a thread; of all, where nodes follow each other
  AlignedBuffer scratch_;
};

}  // namespace qsparse

#endif  // QSPARSE_REGIONS_REGION_H_
