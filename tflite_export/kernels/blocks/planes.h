// A tensor kept in quad planes between the layers of a chain.
//
// Plane q holds channels 4q..4q+3 of every position, four bytes together, xored with
// the kernel's flip. Around the positions lies padding, the tensor's zero point, wide
// enough for every layer that reads the tensor in place.
#ifndef QSPARSE_BLOCKS_PLANES_H_
#define QSPARSE_BLOCKS_PLANES_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "blocks/geometry.h"
#include "blocks/kernel.h"

namespace qsparse {

struct PlaneFormat {
  int32_t channels = 0;
  int32_t positions = 0;
  int32_t before = 0;  // positions of padding in front, keeps vectors aligned
  int32_t after = 0;   // behind; vectors that end past the last position fit, too
  uint8_t padding = 0; // byte of the zero point, flipped

  int32_t quads() const { return (channels + kBlock - 1) / kBlock; }
  size_t stride() const;  // bytes from plane to plane
  size_t bytes() const { return stride() * quads(); }
  // First position of plane `quad` of a tensor that starts at `data`.
  uint8_t* At(uint8_t* data, int32_t quad) const {
    return data + stride() * quad + static_cast<size_t>(before) * kBlock;
  }
  const uint8_t* At(const uint8_t* data, int32_t quad) const {
    return At(const_cast<uint8_t*>(data), quad);
  }
  // Makes room for at least this much; `before` stays a multiple of a vector.
  void Widen(int32_t at_least_before, int32_t at_least_after);
};

// Positions of a tensor in planes, padded with -1 to whole registers.
std::vector<int32_t> PositionsInOrder(const PlaneFormat& format, int32_t lanes);

// Writes `count` positions from `first` on to rows of the whole tensor. `order` is
// that of PositionsInOrder for the kernel, which must take any layer.
void UnpackPlanes(const Kernel& kernel, const PlaneFormat& format, const uint8_t* data,
                  const std::vector<int32_t>& order, int32_t first, int32_t count,
                  int8_t* rows);

// Fills the padding of planes [first, last) before or behind the positions.
void FillBefore(const PlaneFormat& format, int32_t first, int32_t last, uint8_t* data);
void FillAfter(const PlaneFormat& format, int32_t first, int32_t last, uint8_t* data);

// Every `step`th position of `from`.
void CopyEvery(int32_t step, int32_t count, const uint8_t* from, uint8_t* to);

// `count` positions from `source`, every `step`th one, to `target` and on. A negative
// source stands for padding.
struct CopyRun {
  int32_t target;
  int32_t source;
  int32_t count;
  int32_t step;
};

// Position i of the result is position map[i] of the source; negative is padding.
std::vector<CopyRun> FindRuns(const std::vector<int32_t>& map);

// The same, where position first + i of the source goes to map[first + i], or nowhere
// if that is negative. Sources are counted from `first`.
std::vector<CopyRun> FindTargets(const std::vector<int32_t>& map, int32_t first,
                             int32_t last);

void CopyRuns(const std::vector<CopyRun>& runs, uint8_t padding, const uint8_t* source,
              uint8_t* target);

}  // namespace qsparse

#endif  // QSPARSE_BLOCKS_PLANES_H_
