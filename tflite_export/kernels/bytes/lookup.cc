#include "bytes/lookup.h"

#include <algorithm>

namespace qsparse {

#if defined(__x86_64__)
LookupFunction GetVbmiLookup();
#endif

namespace {

void LookUp(const int8_t* table, const int8_t* input, int64_t count, int8_t* output) {
  for (int64_t i = 0; i < count; ++i) output[i] = table[input[i] + 128];
}

}  // namespace

LookupFunction GetLookup([[maybe_unused]] const Cpu& cpu, [[maybe_unused]] Isa isa) {
#if defined(__x86_64__)
  if (cpu.looks_up_bytes(isa)) return GetVbmiLookup();
#endif
  return &LookUp;
}

void Lookup::Run(const int8_t* const* inputs, int8_t* output) {
  constexpr int64_t kTaskValues = 16384;
  const auto tasks = static_cast<int32_t>((shape_.values + kTaskValues - 1) / kTaskValues);
  pool_->Run(tasks, [&](int32_t task, int32_t) {
    const int64_t first = int64_t{task} * kTaskValues;
    function_(shape_.table, inputs[0] + first,
              std::min(kTaskValues, shape_.values - first), output + first);
  });
}

}  // namespace qsparse
