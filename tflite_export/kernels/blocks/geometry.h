// Where every position of a layer's packed activations comes from and goes to.
//
// A position is one packed pixel (or row). The images of a KxK convolution are
// packed with their padding, split into one sub-plane per stride phase, so that
// each kernel tap, dilated or not, is a constant shift and stride 2 runs the stride 1
// loop.
//
// Rows are packed with a padding column between them, whose outputs are thrown
// away, or, for kernels that can mask, without: a tap that looks over the end of a
// row then finds the next row, and a mask per kernel column hides it.
#ifndef QSPARSE_BLOCKS_GEOMETRY_H_
#define QSPARSE_BLOCKS_GEOMETRY_H_

#include <cstdint>
#include <vector>

#include "blocks/kernel.h"
#include "graph/layer.h"

namespace qsparse {

struct Geometry {
  // With one tap nothing overlaps: tiles are packed by themselves, and all
  // images form a single one.
  bool pointwise = false;
  int32_t images = 1;
  int32_t in_rows = 0;   // input rows per image
  int32_t out_rows = 0;  // output rows per image
  std::vector<int32_t> source;  // input row of each packed position, or -1
  std::vector<int32_t> target;  // output row of each computed position, or -1
  std::vector<int32_t> shift;   // positions from output to input, per tap
  int32_t columns = 1;          // kernel columns with masks of their own
  std::vector<uint16_t> masks;  // per column and vector: lanes inside the image

  // Positions of padding in front of the image, if what is packed is the image in
  // order with nothing but padding around it; else -1.
  int32_t Lead() const;
  // Whether the results are the output in order, with none to throw away between.
  bool ComputesInOrder() const;

  int32_t positions() const { return static_cast<int32_t>(source.size()); }
  int32_t computed() const { return static_cast<int32_t>(target.size()); }
};

// Whether masks save this layer registers of positions.
bool MasksColumns(const Layer& layer, const Kernel& kernel);

// With `in_place`, masks are taken wherever they let the image be read as it is.
// Both counts are multiples of the lanes. False when the plan would be too large.
bool MakeGeometry(const Layer& layer, const Kernel& kernel, bool in_place,
                  Geometry* geometry);

}  // namespace qsparse

#endif  // QSPARSE_BLOCKS_GEOMETRY_H_
