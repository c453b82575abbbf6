// A layer for a kernel that computes from quad planes: packed blocks, position
// tables and scratch memory.
//
// By itself it reads and writes rows. In a chain either side may be a tensor in planes:
// read and written in place where the geometry allows, else copied run by run.
#ifndef QSPARSE_BLOCKS_PLANE_LAYER_H_
#define QSPARSE_BLOCKS_PLANE_LAYER_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "add/add.h"
#include "base/aligned_buffer.h"
#include "base/thread_pool.h"
#include "blocks/geometry.h"
#include "blocks/kernel.h"
#include "blocks/planes.h"
#include "graph/layer.h"
#include "layers/packed_layer.h"

namespace qsparse {

class PlaneLayer final : public PackedLayer {
 public:
  // Null when the layer is too large. It can run once `Connect` returned true and its
  // weights are packed.
  static std::unique_ptr<PlaneLayer> Plan(const Layer& layer, const Kernel& kernel,
                                          bool in_chain, ThreadPool* pool);

  // Make room in a tensor for reading or writing it in place.
  void WidenInput(PlaneFormat* format) const;
  void WidenOutput(PlaneFormat* format) const;

  // Null formats stand for rows. False when the buffers would be too large.
  bool Connect(const Layer& layer, const PlaneFormat* input, const PlaneFormat* output);

  // `all_blocks` keeps the blocks that hold only zeros. Safe to call for several layers
  // at once.
  void PackWeights(const Layer& layer, bool all_blocks);

  // Adds a tensor to what the layer computes, tile by tile. Only for an output written
  // in place, to which `residual` was widened, too. The first operand is the layer's.
  bool CanAddResidual() const { return geometry_.ComputesInOrder(); }
  void AddResidual(const Addition& add, const PlaneFormat& residual);

  // Where a side is in planes, its pointer is the start of a tensor in that format.
  void Run(const int8_t* input, int8_t* output) override;
  void Run(const int8_t* input, const uint8_t* residual, int8_t* output);
  size_t input_bytes() const override;
  size_t output_bytes() const override;

 private:
  enum class Side : uint8_t { kRows, kInPlace, kCopied, kThroughRows };

  PlaneLayer(const Kernel& kernel, ThreadPool* pool) : kernel_(kernel), pool_(pool) {}

  bool ChooseTiles();
  void ChooseInput(const PlaneFormat& format);
  void ChooseOutput(const PlaneFormat& format);
  void ChoosePackedLayout();
  bool AllocateBuffers();
  // The blocks of all groups; equal layers share them.
  struct Blocks {
    std::vector<int32_t> offsets;
    std::vector<int8_t> weights;
    std::vector<uint32_t> list_begin;  // see ComputeArgs
    std::vector<uint32_t> sums;        // of the weights of each output
  };
  std::shared_ptr<const Blocks> MakeBlocks(const Layer& layer, bool all_blocks) const;

  void UnpackInput(const uint8_t* input) const;
  const uint8_t* PrepareInput(const int8_t* input) const;
  void PackPositions(const int8_t* input, int32_t first, int32_t count,
                     uint8_t* packed) const;
  void CopyPlane(const uint8_t* input, int32_t quad) const;
  void ComputeTile(int32_t tile, int32_t first_group, int32_t last_group,
                   const uint8_t* packed, int8_t* output, int32_t thread) const;
  void AddTile(int32_t tile, int32_t first_group, int32_t last_group,
               uint8_t* output) const;
  void FinishPlanes(int32_t tile, int32_t first_group, int32_t last_group,
                    const uint8_t* computed, uint8_t* output) const;
  void RunImage(const int8_t* input, int8_t* output) const;

  int32_t tiles() const { return static_cast<int32_t>(tile_begin_.size()) - 1; }

  const Kernel& kernel_;
  ThreadPool* pool_;
  Geometry geometry_;
  int32_t channels_ = 0;
  int32_t outputs_ = 0;
  int32_t groups_ = 0;
  int8_t output_zero_point_ = 0;
  int8_t output_min_ = 0;
  int8_t output_max_ = 0;

  std::shared_ptr<const Blocks> blocks_;
  uint8_t padding_ = 0;
  std::vector<int32_t> bias_;
  std::vector<float> scale_;
  std::vector<int8_t> pad_row_;

  Side input_ = Side::kRows;
  Side output_ = Side::kRows;
  PlaneFormat input_format_;
  PlaneFormat output_format_;
  size_t start_ = 0;  // in place: bytes from the tensor's start to the first position
  AddFunction add_function_ = nullptr;
  Addition addition_ = {};
  PlaneFormat residual_format_;
  const uint8_t* residual_ = nullptr;  // of the run that goes on
  bool splits_phases_ = false;
  AlignedBuffer rows_;                 // of an input in planes that is packed anew
  std::vector<int32_t> input_order_;
  std::vector<CopyRun> input_runs_;
  std::vector<std::vector<CopyRun>> output_runs_;  // per tile

  std::vector<int32_t> tile_begin_;  // in vectors, tiles + 1 entries
  int32_t tile_vectors_ = 0;         // of the largest tile
  bool panels_ = false;              // each tile is packed by its own thread
  size_t plane_stride_ = 0;
  size_t quads_bytes_ = 0;           // of one packed buffer
  size_t scratch_bytes_ = 0;
  AlignedBuffer packed_;             // one image, or one panel per thread
  AlignedBuffer scratch_;            // one per thread
};

}  // namespace qsparse

#endif  // QSPARSE_BLOCKS_PLANE_LAYER_H_
