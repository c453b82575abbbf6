// A layer for a kernel that reads activations position by position.
#ifndef QSPARSE_ROWS_ROW_LAYER_H_
#define QSPARSE_ROWS_ROW_LAYER_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/thread_pool.h"
#include "blocks/geometry.h"
#include "graph/layer.h"
#include "layers/packed_layer.h"
#include "rows/row_kernel.h"
#include "rows/row_weights.h"

namespace qsparse {

class RowLayer final : public PackedLayer {
 public:
  // See FitsMemory and Pack.
  static bool Fits(const Layer& layer, const RowKernel& kernel, ThreadPool* pool);

  static std::unique_ptr<RowLayer> Create(const Layer& layer, const RowKernel& kernel,
                                          bool all_weights, ThreadPool* pool);

  void Run(const int8_t* input, int8_t* output) override;
  size_t input_bytes() const override;
  size_t output_bytes() const override;

 private:
  // Neighbouring positions computed together.
  struct Tile {
    int32_t first;
    int32_t rows;
    size_t place;  // where its first line is packed, in lines
  };

  RowLayer(const RowKernel& kernel, ThreadPool* pool) : kernel_(kernel), pool_(pool) {}

  bool Plan(const Layer& layer);
  int64_t CutTiles(int32_t tallest);
  void ChooseTiles(int64_t entries);
  bool PlacePositions();
  // Equal layers share them.
  struct Entries {
    EntryLists lists;
    AlignedBuffer packed;
  };
  std::shared_ptr<const Entries> MakeEntries(const Layer& layer, bool all_weights,
                                             size_t count) const;
  bool PackWeights(const Layer& layer, bool all_weights);
  void ChooseChunks();
  void PackPositions(const int8_t* input, int32_t first, int32_t count, size_t place);
  void RunImage(const int8_t* input, int8_t* output);

  const RowKernel& kernel_;
  ThreadPool* pool_;
  Geometry geometry_;
  int32_t channels_ = 0;
  int32_t outputs_ = 0;
  int32_t groups_ = 0;
  int8_t output_zero_point_ = 0;
  int8_t output_min_ = 0;
  int8_t output_max_ = 0;

  std::vector<Tile> tiles_;
  std::vector<int32_t> chunk_begin_;  // groups whose weights are used together

  std::vector<int8_t> pad_row_;
  std::vector<int32_t> bias_;
  std::vector<float> scale_;
  std::shared_ptr<const Entries> entries_;

  int32_t lines_ = 0;        // of 64 channels, per position
  int32_t line_stride_ = 0;  // lines from 64 channels of a position to the next 64
  AlignedBuffer packed_;
};

}  // namespace qsparse

#endif  // QSPARSE_ROWS_ROW_LAYER_H_
