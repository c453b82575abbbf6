#include "plan/pack.h"

#include <utility>

#include "blocks/plane_layer.h"
#include "rows/row_layer.h"

namespace qsparse {

bool FitsMemory(const Layer& layer, const KernelChoice& choice, ThreadPool* pool) {
  if (choice.rows != nullptr) return RowLayer::Fits(layer, *choice.rows, pool);
  return PlaneLayer::Plan(layer, *choice.planes, /*in_chain=*/false, pool) != nullptr;
}

std::unique_ptr<PackedLayer> Pack(const Layer& layer, const KernelChoice& choice,
                                  bool dense, ThreadPool* pool) {
  if (choice.rows != nullptr) {
    return RowLayer::Create(layer, *choice.rows, dense, pool);
  }
  auto packed = PlaneLayer::Plan(layer, *choice.planes, /*in_chain=*/false, pool);
  if (packed == nullptr || !packed->Connect(layer, nullptr, nullptr)) return nullptr;
  packed->PackWeights(layer, dense);
  return std::move(packed);
}

}  // namespace qsparse
