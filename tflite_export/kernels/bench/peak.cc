// Measures what an ISA can do at best: multiply-accumulates on registers alone.
//
// Prints one JSON object, ISA -> GMAC/s of one core. No kernel can exceed this,
// so a kernel's share of it says how much is left to gain.
#include <chrono>
#include <cstdint>
#include <cstdio>

#include "base/cpu.h"
#include "base/isa.h"

#if defined(__x86_64__)
namespace {

using qsparse::Isa;

constexpr int64_t kSteps = 1 << 17;
constexpr int kRounds = 400;

// The loops are written in assembly, so that the compiler can neither merge the
// accumulators nor keep one of them in memory. 16 independent sums hide the
// latency of any of these instructions.
#define QSPARSE_16(X) \
  X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)

// Runs the loop of an ISA, and says how many multiply-accumulates that were: none where
// it has no loop.
template <Isa>
int64_t Macs() {
  return 0;
}

// 16 sums in zmm0..15 of products of zmm16 and zmm17.
template <>
int64_t Macs<Isa::kAvx512Vnni>() {
#define QSPARSE_STEP(i) "vpdpbusd %%zmm16, %%zmm17, %%zmm" #i "\n"
  int64_t steps = kSteps;
  asm volatile(
      "1:\n" QSPARSE_16(QSPARSE_STEP) "dec %0\n jnz 1b\n"
      : "+r"(steps)
      :
      : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",
        "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
#undef QSPARSE_STEP
  return kSteps * 16 * 64;
}

// 14 sums in ymm0..13 of products of ymm14 and ymm15.
#define QSPARSE_14(X) \
  X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13)
#define QSPARSE_CLOBBERS                                                           \
  "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",    \
      "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"

template <>
int64_t Macs<Isa::kAvxVnni>() {
#define QSPARSE_STEP(i) "%{vex%} vpdpbusd %%ymm14, %%ymm15, %%ymm" #i "\n"
  int64_t steps = kSteps;
  asm volatile("1:\n" QSPARSE_14(QSPARSE_STEP) "dec %0\n jnz 1b\n"
               : "+r"(steps)
               :
               : QSPARSE_CLOBBERS);
#undef QSPARSE_STEP
  return kSteps * 14 * 32;
}

// A product needs its own register before it is added: 7 sums, 7 products.
template <>
int64_t Macs<Isa::kAvx2>() {
#define QSPARSE_STEP(product, sum)                                  \
  "vpmaddwd %%ymm14, %%ymm15, %%ymm" #product "\n"                  \
  "vpaddd %%ymm" #product ", %%ymm" #sum ", %%ymm" #sum "\n"
  int64_t steps = kSteps;
  asm volatile("1:\n" QSPARSE_STEP(7, 0) QSPARSE_STEP(8, 1) QSPARSE_STEP(9, 2)
                   QSPARSE_STEP(10, 3) QSPARSE_STEP(11, 4) QSPARSE_STEP(12, 5)
                       QSPARSE_STEP(13, 6) "dec %0\n jnz 1b\n"
               : "+r"(steps)
               :
               : QSPARSE_CLOBBERS);
#undef QSPARSE_STEP
  return kSteps * 7 * 16;
}

// The best of many short runs: the clock rises and neighbours come and go.
double Measure(int64_t (*run)()) {
  double best = 0.0;
  for (int i = 0; i < kRounds; ++i) {
    const auto start = std::chrono::steady_clock::now();
    const int64_t macs = run();
    const std::chrono::duration<double, std::nano> elapsed =
        std::chrono::steady_clock::now() - start;
    const double rate = static_cast<double>(macs) / elapsed.count();
    if (rate > best) best = rate;
  }
  return best;
}

}  // namespace

int main() {
  const char* separator = "{";
  const struct {
    Isa isa;
    int64_t (*run)();
  } rows[] = {
#define QSPARSE_ISA(isa, name, is_supported, peak) {Isa::isa, &Macs<Isa::isa>},
#include "base/isas.inc"
#undef QSPARSE_ISA
  };
  for (const auto& row : rows) {
    if (!qsparse::IsSupported(row.isa) || row.run() == 0) continue;
    std::printf("%s\"%s\": %.1f", separator, qsparse::IsaName(row.isa),
                Measure(row.run));
    separator = ", ";
  }
  std::printf("%s}\n", separator[0] == '{' ? "{" : "");
  return 0;
}

#else  // no ISA whose time could be taken so far

int main() {
  std::printf("{}\n");
  return 0;
}

#endif
