#include "layer_case.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstddef>
#include <cstdlib>

#include "layer_shape.h"
#include "random.h"

namespace qsparse::fuzz {
namespace {

int8_t DrawWeight(Random& random, int kind) {
  switch (kind) {
    case 0:
      return random.Choose<int8_t>({-127, 127});
    case 1:
      return random.Choose<int8_t>({-128, -127, 127});
    case 2:
      return -128;
    case 3:
      return random.Choose<int8_t>({-1, 1});
    default:
      return static_cast<int8_t>(random.Int(-128, 127));
  }
}

// Clears all but `kept` of every run of `run` weights along the channels.
void KeepSome(Random& random, int32_t kept, int32_t run, int32_t row,
              std::vector<int8_t>* weights) {
  for (size_t begin = 0; begin < weights->size(); begin += row) {
    for (int32_t first = 0; first < row; first += run) {
      const int32_t length = std::min(run, row - first);
      int32_t left = kept;
      for (int32_t i = 0; i < length; ++i) {
        // Every choice of `kept` positions is equally likely.
        const bool keep = random.Int(1, length - i) <= left;
        left -= keep;
        if (!keep) (*weights)[begin + first + i] = 0;
      }
    }
  }
}

// Blocks of `height` outputs and four channels, of which `density` stay.
void KeepBlocks(Random& random, const Layer& layer, int32_t height, double density,
                std::vector<int8_t>* weights) {
  const int32_t row = layer.channels;
  for (int32_t first = 0; first < layer.outputs; first += height) {
    const int32_t last = std::min(first + height, layer.outputs);
    for (int32_t tap = 0; tap < layer.taps(); ++tap) {
      for (int32_t c = 0; c < row; c += 4) {
        if (random.Real() < density) continue;
        for (int32_t n = first; n < last; ++n) {
          int8_t* w = weights->data() + (size_t{1} * n * layer.taps() + tap) * row;
          std::fill(w + c, w + std::min(c + 4, row), int8_t{0});
        }
      }
    }
  }
}

double DrawDensity(Random& random) {
  return random.OneIn(2) ? random.Choose({0.0, 0.02, 0.1, 0.2, 0.25, 0.5, 0.9, 1.0})
                         : random.Real();
}

void DrawWeights(Random& random, LayerCase* c) {
  const Layer& layer = c->layer;
  c->weights.resize(size_t{1} * layer.outputs * layer.taps() * layer.channels);
  const int kind = random.Int(0, 9);
  for (int8_t& w : c->weights) w = DrawWeight(random, kind);
  const double density = DrawDensity(random);
  const int pattern = random.Int(0, 9);
  if (pattern == 0) {
    c->pattern = "dense";
  } else if (pattern <= 4) {
    const int32_t height = random.Choose({4, 4, 8, 16, 32});
    KeepBlocks(random, layer, height, density, &c->weights);
    c->pattern = std::to_string(height) + "x4 at " + std::to_string(density);
  } else if (pattern <= 7) {
    struct Kept {
      int32_t kept, run;
    };
    const Kept p = random.Choose<Kept>({{1, 4}, {2, 4}, {2, 8}, {4, 16}, {8, 16},
                                        {4, 64}, {8, 64}, {12, 64}, {16, 64}});
    KeepSome(random, p.kept, p.run, layer.channels, &c->weights);
    c->pattern = std::to_string(p.kept) + ":" + std::to_string(p.run);
  } else {
    for (int8_t& w : c->weights) w = random.Real() < density ? w : 0;
    c->pattern = "unstructured at " + std::to_string(density);
  }
  if (random.OneIn(6)) {
    const size_t row = size_t{1} * layer.taps() * layer.channels;
    const double share = random.Real();
    for (int32_t n = 0; n < layer.outputs; ++n) {
      if (random.Real() < share) {
        std::fill_n(c->weights.begin() + static_cast<ptrdiff_t>(n * row), row, int8_t{0});
      }
    }
    c->pattern += ", empty outputs";
  }
}

struct Moments {
  double sum = 0, squares = 0;

  template <typename Iterator>
  Moments(Iterator begin, Iterator end, double offset) {
    for (; begin != end; ++begin) {
      const double value = *begin - offset;
      sum += value;
      squares += value * value;
    }
  }
};

// What the sums of products of an output typically are, its bias aside.
double TypicalSum(const LayerCase& c, const Moments& x, int32_t output) {
  const size_t row = c.weights.size() / c.layer.outputs;
  const auto begin = c.weights.begin() + static_cast<ptrdiff_t>(output * row);
  const Moments w(begin, begin + static_cast<ptrdiff_t>(row), 0);
  const double count = static_cast<double>(c.inputs[0].size());
  const double mean = x.sum / count;
  const double variance = std::max(0.0, x.squares / count - mean * mean);
  return std::sqrt(mean * mean * w.sum * w.sum + variance * w.squares);
}

int32_t DrawBias(Random& random, int kind, double typical) {
  switch (kind) {
    case 0:
      return 0;
    case 1:
      return static_cast<int32_t>(random.Bits());
    case 2:
      return random.Choose({INT32_MIN, INT32_MIN + 1, -1, 1, INT32_MAX});
    default:
      return static_cast<int32_t>(std::clamp(random.Real(-2, 2) * typical, -1e9, 1e9));
  }
}

// The largest scale that the node reader lets through.
double LargestScale(const Layer& layer, int32_t bias) {
  constexpr double kInt32 = 2147483648.0;
  const double products = 255.0 * 128.0 * layer.taps() * layer.channels;
  const double sum = std::min(kInt32, products + std::abs(static_cast<double>(bias)));
  return std::min(255.9, 0.9899 * kInt32 / sum);
}

double DrawScale(Random& random, int kind, double typical, double largest) {
  switch (kind) {
    case 0:
      return largest * random.Real(0.5, 1.0);
    case 1:
      return random.Choose<double>(
          {0.0, FLT_TRUE_MIN, FLT_MIN / 3, FLT_MIN, 1e-30, 1e-12});
    case 2:
    case 3: {
      // Powers of two make exact halves, which must round to even.
      return std::exp2(std::rint(std::log2(40 / (typical + 1) * random.Real(0.3, 3))));
    }
    default:
      return 40 / (typical + 1) * random.Real(0.3, 3);
  }
}

void DrawNumerics(Random& random, LayerCase* c) {
  Layer& layer = c->layer;
  const Moments x(c->inputs[0].begin(), c->inputs[0].end(), layer.input_zero_point);
  const int bias_kind = random.Int(0, 12);
  const int scale_kind = random.Int(0, 9);
  const bool mixed = random.OneIn(8);
  for (int32_t n = 0; n < layer.outputs; ++n) {
    const double typical = TypicalSum(*c, x, n);
    layer.bias.push_back(DrawBias(random, mixed ? random.Int(0, 9) : bias_kind, typical));
    const double scale =
        DrawScale(random, mixed ? random.Int(0, 9) : scale_kind, typical,
                  LargestScale(layer, layer.bias[n]));
    layer.scale.push_back(
        static_cast<float>(std::min(scale, LargestScale(layer, layer.bias[n]))));
  }
  if (random.OneIn(4)) {
    const float smallest = *std::min_element(layer.scale.begin(), layer.scale.end());
    std::fill(layer.scale.begin(), layer.scale.end(), smallest);
  }
}

void DrawClamp(Random& random, Layer* layer) {
  switch (random.Int(0, 4)) {
    case 0:
      layer->output_min = std::min(layer->output_zero_point, 126);
      break;
    case 1:
      layer->output_min = random.Int(-128, 126);
      layer->output_max = random.Int(layer->output_min + 1, 127);
      break;
    default:
      break;
  }
}

}  // namespace

std::vector<int8_t> DrawInput(Random& random, const Layer& layer) {
  std::vector<int8_t> input(size_t{1} * layer.batch * layer.height * layer.width *
                            layer.channels);
  const int kind = random.Int(0, 9);
  const double mean = random.Real(-100, 100), spread = random.LogReal(1, 100);
  for (int8_t& x : input) {
    switch (kind) {
      case 0:
        x = -128;
        break;
      case 1:
        x = 127;
        break;
      case 2:
        x = random.Choose<int8_t>({-128, 127});
        break;
      case 3:
        x = static_cast<int8_t>(layer.input_zero_point);
        break;
      case 4:
      case 5:
      case 6:
        x = static_cast<int8_t>(random.Int(-128, 127));
        break;
      default:
        x = static_cast<int8_t>(std::clamp(
            std::rint(mean + spread * random.Real(-1.7, 1.7)), -128.0, 127.0));
    }
  }
  return input;
}

int32_t DrawZeroPoint(Random& random) {
  return random.OneIn(3) ? random.Choose({-128, -127, -1, 0, 1, 127})
                         : random.Int(-128, 127);
}

void DrawContents(Random& random, LayerCase* c) {
  c->layer.output_zero_point = DrawZeroPoint(random);
  DrawClamp(random, &c->layer);
  DrawWeights(random, c);
  DrawNumerics(random, c);
}

LayerCase DrawLayerCase(uint64_t seed, int64_t max_macs) {
  Random random(seed);
  LayerCase c;
  DrawShape(random, max_macs, &c.layer);
  c.layer.input_zero_point = DrawZeroPoint(random);
  // A second input finds what the first one left behind.
  const int inputs = random.OneIn(2) ? 2 : 1;
  for (int i = 0; i < inputs; ++i) c.inputs.push_back(DrawInput(random, c.layer));
  DrawContents(random, &c);
  return c;
}

std::string Describe(const LayerCase& c) {
  const Layer& l = c.layer;
  const auto pair = [](int32_t a, int32_t b) {
    return std::to_string(a) + "x" + std::to_string(b);
  };
  std::string text = l.is_conv ? "conv" : "fc";
  text += " batch " + std::to_string(l.batch);
  if (l.is_conv) {
    text += ", image " + pair(l.height, l.width) + " to " +
            pair(l.out_height, l.out_width) + ", kernel " +
            pair(l.kernel_height, l.kernel_width) + ", stride " +
            pair(l.stride_height, l.stride_width) + ", dilation " +
            pair(l.dilation_height, l.dilation_width) + ", padding " +
            pair(l.pad_top, l.pad_left) + ".." + pair(l.pad_bottom, l.pad_right);
  }
  return text + ", channels " + std::to_string(l.channels) + ", outputs " +
         std::to_string(l.outputs) + ", zero points " +
         std::to_string(l.input_zero_point) + " and " +
         std::to_string(l.output_zero_point) + ", clamp " +
         std::to_string(l.output_min) + ".." + std::to_string(l.output_max) + ", " +
         c.pattern;
}

}  // namespace qsparse::fuzz
