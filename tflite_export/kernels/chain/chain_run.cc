// The steps of a chain, once chain.cc has made them.
#include <algorithm>

#include "chain/chain.h"

namespace qsparse {

void Chain::Pack(const Step& step) const {
  const Tensor& tensor = tensors_[step.output];
  const PlaneFormat& format = tensor.format;
  uint8_t* const planes = Planes(tensor);
  const int32_t vectors = static_cast<int32_t>(step.rows.size()) / kernel_.lanes;
  const int32_t parts = std::min(vectors, pool_->threads());
  pool_->Run(parts, [&](int32_t part, int32_t) {
    const auto begin_of = [&](int64_t index) {
      return static_cast<int32_t>(index * vectors / parts) * kernel_.lanes;
    };
    const int32_t first = begin_of(part);
    PackArgs args;
    args.input = tensor.rows;
    args.channels = format.channels;
    args.source = step.rows.data() + first;
    args.positions = begin_of(int64_t{part} + 1) - first;
    args.pad_row = pad_row_.data();
    args.packed = format.At(planes, 0) + static_cast<size_t>(first) * kBlock;
    args.plane_stride = format.stride();
    kernel_.pack_quads(args);
  });
  FillBefore(format, 0, format.quads(), planes);
  FillAfter(format, 0, format.quads(), planes);
}

void Chain::Unpack(const Step& step) const {
  const Tensor& tensor = tensors_[step.inputs[0]];
  const PlaneFormat& format = tensor.format;
  const uint8_t* const planes = Planes(tensor);
  const int32_t vectors = static_cast<int32_t>(step.rows.size()) / kernel_.lanes;
  const int32_t parts = std::min(vectors, pool_->threads());
  pool_->Run(parts, [&](int32_t part, int32_t) {
    const auto begin_of = [&](int64_t index) {
      return static_cast<int32_t>(index * vectors / parts) * kernel_.lanes;
    };
    const int32_t first = begin_of(part);
    UnpackPlanes(kernel_, format, planes, step.rows, first,
                 begin_of(int64_t{part} + 1) - first, tensor.rows);
  });
}

void Chain::Add(const Step& step) const {
  const Tensor& output = tensors_[step.output];
  const PlaneFormat& format = output.format;
  const int32_t quads = format.quads();
  const int32_t parts = std::min(quads, pool_->threads());
  pool_->Run(parts, [&](int32_t part, int32_t) {
    const auto begin_of = [&](int64_t index) {
      return static_cast<int32_t>(index * quads / parts);
    };
    const int32_t begin = begin_of(part), end = begin_of(int64_t{part} + 1);
    AddArgs args;
    for (int side = 0; side < 2; ++side) {
      const Tensor& operand = tensors_[step.inputs[side]];
      args.operands[side] = operand.format.At(Planes(operand), begin);
      args.strides[side] = operand.format.stride();
    }
    args.out = format.At(Planes(output), begin);
    args.out_stride = format.stride();
    args.planes = end - begin;
    args.bytes = static_cast<size_t>(format.positions) * kBlock;
    GetAdd(isa_, FlipOf(kernel_))(step.add, args);
    FillBefore(format, begin, end, Planes(output));
    FillAfter(format, begin, end, Planes(output));
  });
}

void Chain::RunStep(const Step& step) const {
  switch (step.kind) {
    case Kind::kPack:
      return Pack(step);
    case Kind::kUnpack:
      return Unpack(step);
    case Kind::kAdd:
      return Add(step);
    case Kind::kPool:
      return step.pool->Run(Planes(tensors_[step.inputs[0]]),
                            Planes(tensors_[step.output]));
    case Kind::kLayer:
      break;
  }
  const Tensor& input = tensors_[step.inputs[0]];
  const Tensor& output = tensors_[step.output];
  const auto side = [this](const Tensor& tensor) {
    return tensor.in_planes ? reinterpret_cast<int8_t*>(Planes(tensor)) : tensor.rows;
  };
  if (step.inputs[1] < 0) return step.layer->Run(side(input), side(output));
  step.layer->Run(side(input), Planes(tensors_[step.inputs[1]]), side(output));
}

void Chain::Run(const int8_t* const* inputs, int8_t* const* outputs) {
  for (int32_t image = 0; image < images_; ++image) {
    for (size_t i = 0; i < inputs_.size(); ++i) {
      Tensor& tensor = tensors_[inputs_[i]];
      // Only ever read: the steps write to rows of outputs alone.
      tensor.rows = const_cast<int8_t*>(inputs[i]) + image * tensor.row_bytes();
    }
    for (size_t i = 0; i < outputs_.size(); ++i) {
      Tensor& tensor = tensors_[outputs_[i]];
      tensor.rows = outputs[i] + image * tensor.row_bytes();
    }
    for (const Step& step : steps_) RunStep(step);
  }
}

size_t Chain::input_bytes(size_t i) const {
  return images_ * tensors_[inputs_[i]].row_bytes();
}

size_t Chain::output_bytes(size_t i) const {
  return images_ * tensors_[outputs_[i]].row_bytes();
}

}  // namespace qsparse
