#include "chain_case.h"

#include <algorithm>
#include <utility>

#include "layer_case.h"
#include "layer_shape.h"
#include "random.h"
#include "reference.h"

namespace qsparse::fuzz {
namespace {

struct Shape {
  int32_t batch, height, width, channels;
  int32_t zero_point;

  bool SameSize(const Shape& other) const {
    return batch == other.batch && height == other.height && width == other.width &&
           channels == other.channels;
  }
};

// A layer that reads a tensor of this shape.
Layer DrawNext(Random& random, const Shape& in, bool images, int64_t max_macs) {
  Layer l;
  l.is_conv = images;
  l.batch = in.batch;
  l.height = in.height;
  l.width = in.width;
  l.channels = in.channels;
  l.input_zero_point = in.zero_point;
  if (images) {
    l.kernel_height = random.Choose({1, 1, 2, 3, 3, 5});
    l.kernel_width = random.OneIn(4) ? random.Int(1, 5) : l.kernel_height;
    l.stride_height = l.stride_width = random.Choose({1, 1, 1, 2});
    l.dilation_height = l.dilation_width = random.Choose({1, 1, 1, 1, 2});
    const bool same = random.Int(1, 4) > 1 || l.reach_height() > in.height ||
                      l.reach_width() > in.width;
    PadAxis(same, in.height, l.reach_height(), l.stride_height, &l.out_height,
            &l.pad_top, &l.pad_bottom);
    PadAxis(same, in.width, l.reach_width(), l.stride_width, &l.out_width, &l.pad_left,
            &l.pad_right);
  }
  // Equal numbers of channels make tensors that can be added.
  l.outputs = random.OneIn(2) ? l.channels : random.Int(1, 150);
  while (l.outputs > 1 && l.macs() > max_macs) l.outputs = (l.outputs + 1) / 2;
  return l;
}

// A window, or a border, over a tensor of this shape.
ChainNode DrawWindow(Random& random, const Shape& in) {
  ChainNode node;
  Layer& w = node.layer;
  w.batch = in.batch;
  w.height = in.height;
  w.width = in.width;
  w.channels = w.outputs = in.channels;
  w.input_zero_point = w.output_zero_point = in.zero_point;
  if (random.OneIn(2)) {
    node.kind = ChainNode::Kind::kPad;
    node.border = in.zero_point;
    for (int32_t* size : {&w.pad_top, &w.pad_bottom, &w.pad_left, &w.pad_right}) {
      *size = random.OneIn(4) ? random.Int(0, 6) : random.Int(0, 2);
    }
    w.out_height = w.height + w.pad_top + w.pad_bottom;
    w.out_width = w.width + w.pad_left + w.pad_right;
    return node;
  }
  node.kind = ChainNode::Kind::kMaxPool;
  w.kernel_height = random.Int(1, std::min(5, in.height));
  w.kernel_width = random.Int(1, std::min(5, in.width));
  w.stride_height = random.Int(1, 3);
  w.stride_width = random.Int(1, 3);
  const bool same = random.OneIn(2);
  PadAxis(same, in.height, w.kernel_height, w.stride_height, &w.out_height, &w.pad_top,
          &w.pad_bottom);
  PadAxis(same, in.width, w.kernel_width, w.stride_width, &w.out_width, &w.pad_left,
          &w.pad_right);
  return node;
}

AddScales DrawScales(Random& random, const Shape& a, const Shape& b) {
  AddScales scales;
  for (float& ratio : scales.ratio) {
    const bool far = random.OneIn(6);
    ratio = static_cast<float>(far ? random.LogReal(0x1.01p-10, 0x1.fp7)
                                   : random.LogReal(0.25, 2.0));
  }
  scales.input_zero_point[0] = a.zero_point;
  scales.input_zero_point[1] = b.zero_point;
  scales.output_zero_point = DrawZeroPoint(random);
  scales.output_min = random.OneIn(3) ? std::min(scales.output_zero_point, 126) : -128;
  scales.output_max = random.OneIn(6) ? random.Int(scales.output_min + 1, 127) : 127;
  return scales;
}

std::string Text(const Shape& s) {
  return std::to_string(s.batch) + "x" + std::to_string(s.height) + "x" +
         std::to_string(s.width) + "x" + std::to_string(s.channels);
}

}  // namespace

ChainCase DrawChainCase(uint64_t seed, int64_t max_macs) {
  Random random(seed);
  ChainCase c;
  std::vector<Shape> shapes;
  std::vector<int> readers;
  const auto add_tensor = [&](const Shape& shape, std::vector<int8_t> value) {
    shapes.push_back(shape);
    readers.push_back(0);
    c.values.push_back(std::move(value));
  };
  const bool images = random.Int(1, 3) > 1;
  const Shape first = images
                          ? Shape{random.Int(1, 2), random.Int(1, 20), random.Int(1, 20),
                                  random.Int(1, 130), DrawZeroPoint(random)}
                          : Shape{static_cast<int32_t>(random.LogReal(1, 150)), 1, 1,
                                  random.Int(1, 200), DrawZeroPoint(random)};
  const int inputs = random.OneIn(4) ? 2 : 1;
  for (int i = 0; i < inputs; ++i) {
    Shape shape = first;
    shape.zero_point = DrawZeroPoint(random);
    Layer rows;
    rows.batch = shape.batch * shape.height * shape.width;
    rows.channels = shape.channels;
    rows.input_zero_point = shape.zero_point;
    add_tensor(shape, DrawInput(random, rows));
  }

  const int count = random.Int(2, 7);
  for (int i = 0; i < count; ++i) {
    const int32_t last = static_cast<int32_t>(shapes.size()) - 1;
    const int32_t source = random.OneIn(3) ? random.Int(0, last) : last;
    ChainNode node;
    node.inputs[0] = source;
    node.output = last + 1;
    int32_t other = -1;
    if (i > 0 && random.OneIn(2)) {
      other = random.Int(0, last);
      if (!shapes[other].SameSize(shapes[source])) other = -1;
    }
    c.weights.emplace_back();
    Shape shape = shapes[source];
    if (other >= 0) {
      node.kind = ChainNode::Kind::kAdd;
      node.inputs[1] = other;
      node.layer.batch = shape.batch;
      node.layer.height = node.layer.out_height = shape.height;
      node.layer.width = node.layer.out_width = shape.width;
      node.layer.channels = node.layer.outputs = shape.channels;
      node.scales = DrawScales(random, shapes[source], shapes[other]);
      shape.zero_point = node.scales.output_zero_point;
      ++readers[other];
      c.description += " add " + std::to_string(source) + "," + std::to_string(other);
      add_tensor(shape, ReferenceSum(node.scales, c.values[source], c.values[other]));
    } else if (images && shape.height < 40 && random.OneIn(4)) {
      node = DrawWindow(random, shape);
      node.inputs[0] = source;
      node.output = last + 1;
      const bool pad = node.kind == ChainNode::Kind::kPad;
      c.description += pad ? " pad " : " max ";
      c.description += std::to_string(source);
      shape.height = node.layer.out_height;
      shape.width = node.layer.out_width;
      add_tensor(shape, ReferenceWindow(node.layer, static_cast<int8_t>(node.border),
                                        c.values[source]));
    } else {
      LayerCase layer;
      layer.layer = DrawNext(random, shape, images, max_macs / count);
      layer.inputs.push_back(c.values[source]);
      DrawContents(random, &layer);
      c.description += " " + std::to_string(source) + "->[" + Describe(layer) + "]";
      c.weights.back() = std::move(layer.weights);
      node.layer = std::move(layer.layer);
      node.layer.weights = c.weights.back().data();
      shape = {node.layer.batch, node.layer.out_height, node.layer.out_width,
               node.layer.outputs, node.layer.output_zero_point};
      add_tensor(shape, Reference(node.layer, c.values[source]));
    }
    ++readers[source];
    c.description += "->" + std::to_string(node.output) + " " + Text(shape);
    c.nodes.push_back(std::move(node));
  }
  for (int32_t t = 0; t < static_cast<int32_t>(shapes.size()); ++t) {
    if (t < inputs) {
      if (readers[t] > 0) c.inputs.push_back(t);
    } else if (readers[t] == 0 || random.OneIn(5)) {
      c.outputs.push_back(t);
    }
  }
  return c;
}

}  // namespace qsparse::fuzz
