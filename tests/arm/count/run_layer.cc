// Runs one layer once: run_layer ISA ROWS CHANNELS OUTPUTS KERNEL KEPT DENSE
//
// KERNEL is the side of a convolution over a square of ROWS pixels, 0 for a fully
// connected layer; KEPT the percentage of blocks that are not zero; DENSE whether
// all of them are computed. Prints the name of the kernel.
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "cpu.h"
#include "kernel_choice.h"
#include "packed_layer.h"
#include "pattern.h"

namespace {

using qsparse::kBlock;

// A permutation of the blocks decides which are kept, so that their number is exact.
std::vector<int8_t> Weights(int outputs, int taps, int channels, int kept) {
  const int groups = outputs / kBlock, quads = channels / kBlock;
  std::vector<int> order(groups * taps * quads);
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int>(i);
  uint32_t random = 1;
  for (size_t i = order.size() - 1; i > 0; --i) {
    random = random * 1664525u + 1013904223u;
    std::swap(order[i], order[(random >> 8) % (i + 1)]);
  }
  std::vector<int8_t> weights(static_cast<size_t>(outputs) * taps * channels, 0);
  for (size_t i = 0; i < order.size() * kept / 100; ++i) {
    const int group = order[i] / (taps * quads), at = order[i] % (taps * quads);
    for (int v = 0; v < kBlock; ++v) {
      for (int k = 0; k < kBlock; ++k) {
        weights[(group * kBlock + v) * taps * channels + at * kBlock + k] =
            static_cast<int8_t>(v * 29 + k * 7 - 60);
      }
    }
  }
  return weights;
}

}  // namespace

int main(int count, char** arguments) {
  qsparse::Isa isa;
  if (count != 8 || !qsparse::ParseIsa(arguments[1], &isa)) return 1;
  const int rows = std::atoi(arguments[2]), channels = std::atoi(arguments[3]);
  const int outputs = std::atoi(arguments[4]), kernel = std::atoi(arguments[5]);
  const int kept = std::atoi(arguments[6]);
  const bool dense = std::atoi(arguments[7]) != 0;

  qsparse::Layer layer;
  layer.outputs = outputs;
  layer.channels = channels;
  layer.batch = kernel == 0 ? rows : 1;
  if (kernel != 0) {
    layer.is_conv = true;
    layer.kernel_height = layer.kernel_width = kernel;
    layer.height = layer.width = layer.out_height = layer.out_width = rows;
    layer.pad_top = layer.pad_left = layer.pad_bottom = layer.pad_right = kernel / 2;
  }
  const std::vector<int8_t> weights = Weights(outputs, layer.taps(), channels, kept);
  layer.weights = weights.data();
  layer.bias.assign(outputs, 0);
  layer.scale.assign(outputs, 0.001f);

  qsparse::ThreadPool pool(1);
  const qsparse::KernelChoice choice =
      qsparse::ChooseKernel(isa, layer, qsparse::FindPattern(layer), dense);
  const auto packed = qsparse::Pack(layer, choice, dense, &pool);
  if (packed == nullptr) return 1;
  const std::vector<int8_t> input(packed->input_bytes(), 3);
  std::vector<int8_t> output(packed->output_bytes());
  packed->Run(input.data(), output.data());
  std::printf("%s %s %lld\n", qsparse::IsaName(choice.isa()), choice.name(),
              static_cast<long long>(layer.macs()));
  return 0;
}
