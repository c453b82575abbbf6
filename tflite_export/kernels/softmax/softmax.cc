#include "softmax/softmax.h"

#include <cmath>
#include <cstring>

#include "base/cpu.h"
#include "softmax/softmax_loop.h"

namespace qsparse {

#define QSPARSE_SOFTMAX(isa, get) SoftmaxFunction get();
#include "softmax/softmaxes.inc"
#undef QSPARSE_SOFTMAX
#if defined(__x86_64__)
SoftmaxFunction GetVbmiSoftmax();
#endif

namespace {

constexpr int32_t kTaskRows = 16;

// Of a thread.
size_t ScratchBytes(const SoftmaxShape& shape) {
  const size_t bytes =
      static_cast<size_t>(shape.columns) * kSoftmaxRows * sizeof(float);
  return bytes / kCacheLine * kCacheLine + kCacheLine;
}

SoftmaxFunction GetSoftmax(Isa isa) {
#if defined(__x86_64__)
  if (ThisCpu().looks_up_bytes(isa)) return GetVbmiSoftmax();
#endif
  switch (isa) {
#define QSPARSE_SOFTMAX(isa, get) \
  case Isa::isa:                  \
    return get();
#include "softmax/softmaxes.inc"
#undef QSPARSE_SOFTMAX
    default:
      return &SoftmaxLoop;
  }
}

}  // namespace

Softmax::Softmax(const SoftmaxShape& shape, Isa isa, ThreadPool* pool)
    : shape_(shape), function_(GetSoftmax(isa)), pool_(pool) {
  for (int32_t i = 0; i < kSoftmaxValues; ++i) {
    const int32_t at = kSoftmaxValues - 1 - i;
    table_[at] = std::exp(shape.exponent * static_cast<float>(i));
    for (size_t b = 0; b < sizeof(float); ++b) {
      std::memcpy(bytes_ + b * kSoftmaxValues + at,
                  reinterpret_cast<const char*>(&table_[at]) + b, 1);
    }
  }
  scratch_bytes_ = ScratchBytes(shape);
}

bool Softmax::FitsMemory(const SoftmaxShape& shape, const ThreadPool& pool) {
  return ScratchBytes(shape) <= kMaxBufferBytes / static_cast<size_t>(pool.threads());
}

std::unique_ptr<Operation> Softmax::Create(const SoftmaxShape& shape, Isa isa,
                                           ThreadPool* pool) {
  std::unique_ptr<Softmax> softmax(new Softmax(shape, isa, pool));
  const auto threads = static_cast<size_t>(pool->threads());
  softmax->scratch_ = AllocateAligned(softmax->scratch_bytes_ * threads);
  if (softmax->scratch_ == nullptr) return nullptr;
  return softmax;
}

void Softmax::Run(const int8_t* const* inputs, int8_t* output) {
  const auto tasks = static_cast<int32_t>((shape_.rows + kTaskRows - 1) / kTaskRows);
  pool_->Run(tasks, [&](int32_t task, int32_t thread) {
    const int64_t first = int64_t{task} * kTaskRows;
    const auto offset = static_cast<size_t>(first * shape_.columns);
    SoftmaxArgs args;
    args.table = table_;
    args.bytes = bytes_;
    args.input = inputs[0] + offset;
    args.output = output + offset;
    args.rows = static_cast<int32_t>(
        std::min<int64_t>(kTaskRows, shape_.rows - first));
    args.columns = shape_.columns;
    args.scratch = reinterpret_cast<float*>(
        scratch_.get() + static_cast<size_t>(thread) * scratch_bytes_);
    function_(args);
  });
}

}  // namespace qsparse
