// Claimed nodes one by one, on rows, in plain loops.
//
// Shapes may change after nodes were claimed, and the runtime does not take nodes back.
// This runs whatever no kernel is made for: sums that broadcast, single images beyond
// the position tables. Equal to the kernels to the last bit, and slow.
#ifndef QSPARSE_CHAIN_PLAIN_NODES_H_
#define QSPARSE_CHAIN_PLAIN_NODES_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "add/add.h"
#include "base/aligned_buffer.h"
#include "base/thread_pool.h"
#include "graph/chain_node.h"
#include "layers/runnable.h"

namespace qsparse {

class PlainNodes final : public Runnable {
 public:
  // As Chain::Create; null when there is no memory for what lies between the nodes.
  static std::unique_ptr<PlainNodes> Create(std::vector<ChainNode> nodes,
                                            const std::vector<int32_t>& inputs,
                                            const std::vector<int32_t>& outputs,
                                            ThreadPool* pool);

  void Run(const int8_t* const* inputs, int8_t* const* outputs) override;
  size_t input_bytes(size_t i) const override { return tensors_[inputs_[i]].bytes; }
  size_t output_bytes(size_t i) const override { return tensors_[outputs_[i]].bytes; }

 private:
  struct Tensor {
    int32_t name = -1;
    size_t bytes = 0;
    AlignedBuffer buffer;    // null where the rows are the caller's
    int8_t* rows = nullptr;
  };
  struct Step {
    ChainNode node;
    int32_t inputs[2] = {-1, -1};
    int32_t output = -1;
    Addition add = {};              // of a sum
    std::vector<size_t> strides[2]; // of a sum, see plain_nodes.cc
  };

  explicit PlainNodes(ThreadPool* pool) : pool_(pool) {}

  // Index of a tensor, made if it is new; negative if it was seen with other bytes.
  int32_t Find(int32_t name, size_t bytes);
  bool Connect(std::vector<ChainNode> nodes, const std::vector<int32_t>& inputs,
               const std::vector<int32_t>& outputs);
  void RunStep(const Step& step) const;
  void RunLayer(const Step& step) const;
  void RunWindow(const Step& step) const;
  void RunAddition(const Step& step) const;

  ThreadPool* const pool_;
  std::vector<Tensor> tensors_;
  std::vector<int32_t> inputs_;
  std::vector<int32_t> outputs_;
  std::vector<Step> steps_;
};

}  // namespace qsparse

#endif  // QSPARSE_CHAIN_PLAIN_NODES_H_
