// A random layer, as the node reader could have made it, and inputs for it.
#ifndef QSPARSE_FUZZ_LAYER_CASE_H_
#define QSPARSE_FUZZ_LAYER_CASE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "graph/layer.h"
#include "random.h"

namespace qsparse::fuzz {

struct LayerCase {
  Layer layer;  // `layer.weights` is left to whoever places the weights
  std::vector<int8_t> weights;
  std::vector<std::vector<int8_t>> inputs;
  std::string pattern;
};

// Everything follows from the seed and the largest number of multiplications.
LayerCase DrawLayerCase(uint64_t seed, int64_t max_macs);

// Draws what is left of a layer whose shape, inputs and input zero point are there:
// weights, scales, biases and the rest of the numbers.
void DrawContents(Random& random, LayerCase* c);

std::vector<int8_t> DrawInput(Random& random, const Layer& layer);
int32_t DrawZeroPoint(Random& random);

std::string Describe(const LayerCase& c);

}  // namespace qsparse::fuzz

#endif  // QSPARSE_FUZZ_LAYER_CASE_H_
