// Consecutive layers whose tensors stay in quad planes from one to the next.
//
// Rows are packed where a chain begins and unpacked where it ends. Between, a layer
// writes the very bytes the next one reads, whatever number of readers a tensor has.
#ifndef QSPARSE_CHAIN_CHAIN_H_
#define QSPARSE_CHAIN_CHAIN_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "add/add.h"
#include "base/aligned_buffer.h"
#include "base/thread_pool.h"
#include "blocks/kernel.h"
#include "blocks/plane_layer.h"
#include "blocks/planes.h"
#include "chain/pool.h"
#include "graph/chain_node.h"
#include "graph/layer.h"
#include "layers/runnable.h"

namespace qsparse {

class Chain final : public Runnable {
 public:
  // Nodes in an order they can run in. Null when the shapes do not fit each other, the
  // buffers would be too large, or nobody reads a tensor that is no output. `inputs` and
  // `outputs` are rows of the caller.
  static std::unique_ptr<Chain> Create(std::vector<ChainNode> nodes,
                                       const std::vector<int32_t>& inputs,
                                       const std::vector<int32_t>& outputs, Isa isa,
                                       bool all_blocks, ThreadPool* pool);

  // Whether Create would succeed, were there memory; packs nothing.
  static bool Fits(std::vector<ChainNode> nodes, Isa isa, ThreadPool* pool);

  // Rows in the order of Create.
  void Run(const int8_t* const* inputs, int8_t* const* outputs) override;

  size_t input_bytes(size_t i) const override;
  size_t output_bytes(size_t i) const override;

 private:
  struct Tensor {
    int32_t name = -1;
    int32_t producer = -1;  // node, or negative
    std::vector<int32_t> consumers;
    bool is_output = false;
    bool in_planes = false;
    PlaneFormat format;
    int32_t buffer = -1;
    int8_t* rows = nullptr;  // of the image being run
    size_t row_bytes() const {
      return static_cast<size_t>(format.positions) * format.channels;
    }
  };

  enum class Kind : uint8_t { kPack, kLayer, kAdd, kPool, kUnpack };
  struct Step {
    Kind kind = Kind::kLayer;
    int32_t inputs[2] = {-1, -1};  // tensors; a layer's second is added to its result
    int32_t output = -1;
    std::unique_ptr<PlaneLayer> layer;
    size_t node = 0;  // of the layer
    std::unique_ptr<Pool> pool;
    Addition add = {};
    std::vector<int32_t> rows;  // of every position packed or unpacked, or -1
  };

  Chain(Isa isa, ThreadPool* pool);

  static void FuseBorders(const std::vector<int32_t>& outputs,
                          std::vector<ChainNode>* nodes);
  bool SplitImages(std::vector<ChainNode>* nodes);
  bool FindTensors(const std::vector<ChainNode>& nodes,
                   const std::vector<int32_t>& inputs,
                   const std::vector<int32_t>& outputs);
  int32_t IndexOf(int32_t name) const;
  bool Describe(int32_t tensor, int32_t channels, int32_t positions);
  void ChoosePlanes(const std::vector<ChainNode>& nodes);
  bool PlanLayers(const std::vector<ChainNode>& nodes);
  void FuseAdditions(const std::vector<ChainNode>& nodes);
  bool MakeSteps(const std::vector<ChainNode>& nodes);
  bool MakeLayer(const std::vector<ChainNode>& nodes, size_t index, Step* step);
  void PackWeights(const std::vector<ChainNode>& nodes, bool all_blocks);
  bool MakePool(const ChainNode& node, Step* step) const;
  void AddTransfer(Kind kind, int32_t tensor);
  void RunStep(const Step& step) const;
  bool AssignBuffers();
  bool HasPlaces() const;

  uint8_t* Planes(const Tensor& tensor) const {
    return buffers_[tensor.buffer].get();
  }
  void Pack(const Step& step) const;
  void Unpack(const Step& step) const;
  void Add(const Step& step) const;

  const Isa isa_;
  const Kernel& kernel_;  // packs and unpacks
  ThreadPool* const pool_;
  int32_t images_ = 1;
  std::vector<Tensor> tensors_;
  std::vector<int32_t> inputs_;
  std::vector<int32_t> outputs_;
  std::vector<std::unique_ptr<PlaneLayer>> planned_;  // per node, until Steps take them
  std::vector<int32_t> added_by_;  // layer that does it, per node, or negative
  std::vector<int32_t> adds_;      // addition that a layer does, per node, or negative
  std::vector<Step> steps_;
  std::vector<AlignedBuffer> buffers_;
  std::vector<int8_t> pad_row_;
};

}  // namespace qsparse

#endif  // QSPARSE_CHAIN_CHAIN_H_
