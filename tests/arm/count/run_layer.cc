// Runs one layer once: run_layer ISA KERNEL WEIGHTS ROWS CHANNELS OUTPUTS SIDE DENSE
//
// WEIGHTS is a file of int8, outputs first. SIDE is that of the kernel of a
// convolution over a square of ROWS pixels, 0 for a fully connected layer; DENSE
// whether zeros are computed too. Prints the ISA and the name of the kernel, and of the
// one that would have been chosen.
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "base/cpu.h"
#include "plan/kernel_choice.h"
#include "plan/pack.h"
#include "plan/pattern.h"

namespace {

// Nothing if the file does not have exactly `count` bytes.
std::vector<int8_t> ReadWeights(const char* path, size_t count) {
  std::vector<int8_t> weights(count + 1);
  std::FILE* file = std::fopen(path, "rb");
  if (file == nullptr) return {};
  const size_t read = std::fread(weights.data(), 1, weights.size(), file);
  std::fclose(file);
  if (read != count) return {};
  return weights;
}

}  // namespace

int main(int count, char** arguments) {
  qsparse::Isa isa;
  if (count != 9 || !qsparse::ParseIsa(arguments[1], &isa)) return 1;
  const int rows = std::atoi(arguments[4]), side = std::atoi(arguments[7]);
  const bool dense = std::atoi(arguments[8]) != 0;

  qsparse::Layer layer;
  layer.channels = std::atoi(arguments[5]);
  layer.outputs = std::atoi(arguments[6]);
  layer.batch = side == 0 ? rows : 1;
  if (side != 0) {
    layer.is_conv = true;
    layer.kernel_height = layer.kernel_width = side;
    layer.height = layer.width = layer.out_height = layer.out_width = rows;
    layer.pad_top = layer.pad_left = layer.pad_bottom = layer.pad_right = side / 2;
  }
  const std::vector<int8_t> weights = ReadWeights(
      arguments[3], static_cast<size_t>(layer.outputs) * layer.taps() * layer.channels);
  if (weights.empty()) return 1;
  layer.weights = weights.data();
  layer.bias.assign(layer.outputs, 0);
  layer.scale.assign(layer.outputs, 0.001f);

  qsparse::ThreadPool pool(1);
  const qsparse::Pattern pattern = qsparse::FindPattern(layer);
  const qsparse::KernelChoice free = 
      qsparse::ChooseKernel(qsparse::ThisCpu(), isa, layer, pattern, dense);
  const qsparse::KernelChoice choice =
      qsparse::ChooseKernel(qsparse::ThisCpu(), isa, layer, pattern, dense,
                            arguments[2]);
  const auto packed = qsparse::Pack(layer, choice, dense, &pool);
  if (packed == nullptr) return 1;
  const std::vector<int8_t> input(packed->input_bytes(), 3);
  std::vector<int8_t> output(packed->output_bytes());
  packed->Run(input.data(), output.data());
  std::printf("%s %s %s\n", qsparse::IsaName(choice.isa()), choice.name(), free.name());
  return 0;
}
