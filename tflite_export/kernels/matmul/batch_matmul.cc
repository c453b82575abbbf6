#include "matmul/batch_matmul.h"

namespace qsparse {

#define QSPARSE_MATMUL_KERNEL(isa, variable) extern const MatmulKernel variable;
#include "matmul/matmul_kernels.inc"
#undef QSPARSE_MATMUL_KERNEL

const MatmulKernel& GetMatmulKernel(Isa isa) {
  switch (isa) {
#define QSPARSE_MATMUL_KERNEL(isa, variable) \
  case Isa::isa:                             \
    return variable;
#include "matmul/matmul_kernels.inc"
#undef QSPARSE_MATMUL_KERNEL
    default:
      return kPortableMatmul;
  }
}

BatchMatmul::BatchMatmul(const MatmulShape& shape, Isa isa, ThreadPool* pool)
    : shape_(shape), kernel_(GetMatmulKernel(isa)), pool_(pool), part_rows_(shape.rows) {
  // Every task packs its right side, so products are cut only if there are too few.
  constexpr int32_t kTasksPerThread = 2;
  const int32_t wanted = pool->threads() == 1 ? 1 : kTasksPerThread * pool->threads();
  const int32_t parts = (wanted + shape.batch - 1) / shape.batch;
  const int32_t tiles = (shape.rows + kernel_.rows - 1) / kernel_.rows;
  part_rows_ = std::max((tiles + parts - 1) / parts, 1) * kernel_.rows;
}

BatchMatmul::Sizes BatchMatmul::SizesOfBuffers() const {
  const auto dwords = static_cast<size_t>(kernel_.dwords(shape_.depth));
  const auto rows = static_cast<size_t>(part_rows_);
  const auto columns =
      static_cast<size_t>(kernel_.panels(shape_.columns)) * kernel_.columns;
  constexpr size_t kDword = sizeof(int32_t);
  return {rows * dwords * kDword, columns * dwords * kDword, rows * kDword,
          columns * kDword};
}

bool BatchMatmul::FitsMemory(const MatmulShape& shape, Isa isa, const ThreadPool& pool) {
  const BatchMatmul matmul(shape, isa, const_cast<ThreadPool*>(&pool));
  const Sizes sizes = matmul.SizesOfBuffers();
  const size_t threads = static_cast<size_t>(pool.threads());
  const size_t total = sizes.left + sizes.right + sizes.left_bias + sizes.right_bias;
  return total <= kMaxBufferBytes / threads;
}

std::unique_ptr<Operation> BatchMatmul::Create(const MatmulShape& shape, Isa isa,
                                               ThreadPool* pool) {
  if (!FitsMemory(shape, isa, *pool)) return nullptr;
  std::unique_ptr<BatchMatmul> matmul(new BatchMatmul(shape, isa, pool));
  if (!matmul->Allocate()) return nullptr;
  return matmul;
}

bool BatchMatmul::Allocate() {
  const Sizes sizes = SizesOfBuffers();
  buffers_.resize(static_cast<size_t>(pool_->threads()));
  for (Buffers& buffers : buffers_) {
    buffers.left = AllocateAligned(sizes.left);
    buffers.right = AllocateAligned(sizes.right);
    buffers.left_bias = AllocateAligned(sizes.left_bias);
    buffers.right_bias = AllocateAligned(sizes.right_bias);
    if (buffers.left == nullptr || buffers.right == nullptr ||
        buffers.left_bias == nullptr || buffers.right_bias == nullptr) {
      return false;
    }
  }
  return true;
}

size_t BatchMatmul::input_bytes(int input) const {
  const int32_t count = input == 0 ? shape_.rows : shape_.columns;
  return static_cast<size_t>(shape_.matrices[input]) * count * shape_.depth;
}

size_t BatchMatmul::output_bytes() const {
  return static_cast<size_t>(shape_.batch) * shape_.rows * shape_.columns;
}

void BatchMatmul::RunPart(const int8_t* left, const int8_t* right, int32_t first_row,
                          int32_t rows, const Buffers& buffers, int8_t* output) const {
  const size_t depth = static_cast<size_t>(shape_.depth);
  MatmulSide side;
  side.depth = shape_.depth;
  side.count = rows;
  side.stride = shape_.transposed[0] ? 1 : depth;
  side.depth_stride = shape_.transposed[0] ? shape_.rows : 1;
  side.data = left + static_cast<size_t>(first_row) * side.stride;
  side.zero_point = shape_.zero_point[0];
  side.other_zero_point = shape_.zero_point[1];
  side.packed = buffers.left.get();
  side.bias = reinterpret_cast<int32_t*>(buffers.left_bias.get());
  kernel_.pack_left(side);

  side.data = right;
  side.count = shape_.columns;
  side.stride = shape_.transposed[1] ? depth : 1;
  side.depth_stride = shape_.transposed[1] ? 1 : shape_.columns;
  side.zero_point = shape_.zero_point[1];
  side.other_zero_point = shape_.zero_point[0];
  side.packed = buffers.right.get();
  side.bias = reinterpret_cast<int32_t*>(buffers.right_bias.get());
  kernel_.pack_right(side);

  MatmulArgs args;
  args.left = buffers.left.get();
  args.right = buffers.right.get();
  args.left_bias = reinterpret_cast<const int32_t*>(buffers.left_bias.get());
  args.right_bias = side.bias;
  args.rows = rows;
  args.columns = shape_.columns;
  args.dwords = kernel_.dwords(shape_.depth);
  args.fixed = shape_.fixed;
  args.factor = shape_.factor;
  args.out = output;
  kernel_.multiply(args);
}

void BatchMatmul::Run(const int8_t* const* inputs, int8_t* output) {
  const int32_t parts = (shape_.rows + part_rows_ - 1) / part_rows_;
  const size_t left = input_bytes(0) / shape_.matrices[0];
  const size_t right = input_bytes(1) / shape_.matrices[1];
  const size_t row = static_cast<size_t>(shape_.columns);
  pool_->Run(shape_.batch * parts, [&](int32_t task, int32_t thread) {
    const int32_t item = task / parts;
    const int32_t first = task % parts * part_rows_;
    const int32_t rows = std::min(part_rows_, shape_.rows - first);
    const auto of = [&](int side) -> size_t {
      return shape_.repeated[side].empty() ? item : shape_.repeated[side][item];
    };
    RunPart(inputs[0] + of(0) * left, inputs[1] + of(1) * right, first, rows,
            buffers_[static_cast<size_t>(thread)],
            output + (static_cast<size_t>(item) * shape_.rows + first) * row);
  });
}

}  // namespace qsparse
