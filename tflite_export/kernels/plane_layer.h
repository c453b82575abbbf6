// A layer for a kernel that computes from quad planes: packed blocks, position
// tables and scratch memory.
#ifndef QSPARSE_PLANE_LAYER_H_
#define QSPARSE_PLANE_LAYER_H_

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <vector>

#include "geometry.h"
#include "kernel.h"
#include "layer.h"
#include "packed_layer.h"
#include "thread_pool.h"

namespace qsparse {

class PlaneLayer final : public PackedLayer {
 public:
  // See FitsMemory and Pack.
  static bool Fits(const Layer& layer, const Kernel& kernel, ThreadPool* pool);

  static std::unique_ptr<PlaneLayer> Create(const Layer& layer, const Kernel& kernel,
                                             bool all_blocks, ThreadPool* pool);

  void Run(const int8_t* input, int8_t* output) override;
  size_t input_bytes() const override;
  size_t output_bytes() const override;

 private:
  struct FreeDeleter {
    void operator()(uint8_t* memory) const { std::free(memory); }
  };
  using Buffer = std::unique_ptr<uint8_t, FreeDeleter>;

  PlaneLayer(const Kernel& kernel, ThreadPool* pool) : kernel_(kernel), pool_(pool) {}

  static Buffer Allocate(size_t bytes);
  bool Plan(const Layer& layer);
  bool ChooseTiles();
  void PackWeights(const Layer& layer, bool all_blocks);
  bool AllocateBuffers();
  void PackPositions(const int8_t* input, int32_t first, int32_t count,
                     uint8_t* packed) const;
  void ComputeTile(int32_t tile, int32_t first_group, int32_t last_group,
                   const uint8_t* packed, int8_t* output, int32_t thread) const;
  void RunImage(const int8_t* input, int8_t* output);

  const Kernel& kernel_;
  ThreadPool* pool_;
  Geometry geometry_;
  int32_t channels_ = 0;
  int32_t outputs_ = 0;
  int32_t groups_ = 0;
  int8_t output_zero_point_ = 0;
  int8_t output_min_ = 0;
  int8_t output_max_ = 0;

  std::vector<int32_t> offsets_;
  std::vector<int8_t> weights_;
  std::vector<uint32_t> list_begin_;  // see ComputeArgs
  uint8_t padding_ = 0;
  std::vector<int32_t> bias_;
  std::vector<float> scale_;
  std::vector<int8_t> pad_row_;

  std::vector<int32_t> tile_begin_;  // in vectors, tiles + 1 entries
  int32_t tile_vectors_ = 0;         // of the largest tile
  bool panels_ = false;              // each tile is packed by its own thread
  size_t plane_stride_ = 0;
  size_t quads_bytes_ = 0;           // of one packed buffer
  size_t scratch_bytes_ = 0;
  Buffer packed_;                    // one image, or one panel per thread
  Buffer scratch_;                   // one per thread
};

}  // namespace qsparse

#endif  // QSPARSE_PLANE_LAYER_H_
