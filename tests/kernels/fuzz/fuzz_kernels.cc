// Hunts for layers that some kernel gets wrong, and for chains of them:
//
//   fuzz_kernels [--seconds S] [--cases N] [--seed S] [--isa NAME] [--max-macs N]
//
// Even seeds make layers, odd ones chains. Case i has the seed `--seed` + i, so a
// failing one is repeated by its own seed and `--cases 1`. Exits with 1 after a mismatch. `--cases 0` means no limit but
// the time; `--isa` may be given more than once.
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <vector>

#include <unistd.h>

#include "allocations.h"
#include "base/cpu.h"
#include "chain_case.h"
#include "check_chain.h"
#include "check_layer.h"
#include "layer_case.h"

#if defined(__SANITIZE_ADDRESS__)
// What the sanitizers find ends in a signal, which names its case.
extern "C" __attribute__((visibility("default"))) const char* __asan_default_options() {
  return "abort_on_error=1";
}
extern "C" __attribute__((visibility("default"))) const char* __ubsan_default_options() {
  return "abort_on_error=1:print_stacktrace=1";
}
#endif

namespace qsparse::fuzz {
namespace {

struct Arguments {
  double seconds = 10;
  int64_t cases = 0;
  uint64_t seed = 1;
  int64_t max_macs = int64_t{1} << 22;
  std::vector<Isa> isas;
};

// False for anything but a known option with a value that makes sense.
bool Parse(int count, char** values, Arguments* arguments) {
  for (int i = 1; i < count; i += 2) {
    const std::string name = values[i];
    if (i + 1 == count) return false;
    const char* value = values[i + 1];
    char* end = nullptr;
    if (name == "--isa") {
      Isa isa;
      if (!ParseIsa(value, &isa) || !IsSupported(isa)) return false;
      arguments->isas.push_back(isa);
      continue;
    }
    if (name == "--seconds") {
      arguments->seconds = std::strtod(value, &end);
    } else if (name == "--cases") {
      arguments->cases = std::strtoll(value, &end, 10);
    } else if (name == "--seed") {
      arguments->seed = std::strtoull(value, &end, 10);
    } else if (name == "--max-macs") {
      arguments->max_macs = std::strtoll(value, &end, 10);
    } else {
      return false;
    }
    if (end == value || *end != '\0') return false;
  }
  return arguments->max_macs >= 1000;
}

double Now() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// A crash names its case too.
volatile std::sig_atomic_t crashed = 0;
char repeat[96];

void SetRepeat(uint64_t seed, int64_t max_macs) {
  std::snprintf(repeat, sizeof(repeat), "--cases 1 --max-macs %lld --seed %llu",
                static_cast<long long>(max_macs), static_cast<unsigned long long>(seed));
}

// Then whatever handled the signal before handles it again.
struct sigaction previous[NSIG];

void OnSignal(int signal) {
  if (crashed == 0) {
    crashed = 1;
    constexpr char kText[] = "\nFAILED with a signal; repeat with ";
    (void)!write(STDERR_FILENO, kText, sizeof(kText) - 1);
    (void)!write(STDERR_FILENO, repeat, std::strlen(repeat));
    (void)!write(STDERR_FILENO, "\n", 1);
  }
  sigaction(signal, &previous[signal], nullptr);
  if (signal == SIGABRT) raise(signal);
}

void CatchSignals() {
  struct sigaction action = {};
  action.sa_handler = OnSignal;
  for (const int signal : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT}) {
    sigaction(signal, &action, &previous[signal]);
  }
}

int Main(const Arguments& arguments) {
  constexpr double kSecondsBetweenLines = 5;
  constexpr int kMaxFailures = 10;
  LayerChecker layers(arguments.isas);
  ChainChecker chains(arguments.isas);
  std::printf("allocations are %scounted\n", AllocationsAreCounted() ? "" : "NOT ");
  const double start = Now();
  double next_line = start + kSecondsBetweenLines;
  int64_t cases = 0;
  int failures = 0;
  const auto report = [&](double now) {
    int64_t runs = 0;
    for (const auto* part : {&layers.runs(), &chains.runs()}) {
      for (const auto& [kernel, count] : *part) runs += count;
    }
    std::printf("%.0f s: %lld cases (%.0f/s), %lld runs, %d failed\n", now - start,
                static_cast<long long>(cases),
                static_cast<double>(cases) / (now - start + 1e-9),
                static_cast<long long>(runs), failures);
    std::fflush(stdout);
  };
  while ((arguments.cases == 0 || cases < arguments.cases) && failures < kMaxFailures &&
         Now() - start < arguments.seconds) {
    const uint64_t seed = arguments.seed + static_cast<uint64_t>(cases++);
    SetRepeat(seed, arguments.max_macs);
    std::string wrong, description;
    if (seed % 2 == 0) {
      const LayerCase c = DrawLayerCase(seed, arguments.max_macs);
      wrong = layers.Check(c, seed);
      description = Describe(c);
    } else {
      const ChainCase c = DrawChainCase(seed, arguments.max_macs);
      wrong = chains.Check(c, seed);
      description = c.description;
    }
    if (!wrong.empty()) {
      ++failures;
      std::printf("FAILED: %s\n  %s\n  repeat with %s\n", wrong.c_str(),
                  description.c_str(), repeat);
    }
    if (Now() < next_line) continue;
    report(Now());
    next_line = Now() + kSecondsBetweenLines;
  }
  report(Now());
  for (const auto* part : {&layers.runs(), &chains.runs()}) {
    for (const auto& [kernel, count] : *part) {
      std::printf("  %-32s %lld runs\n", kernel.c_str(), static_cast<long long>(count));
    }
  }
  std::printf("  %.0f%% of %lld outputs inside their clamp\n",
              100.0 * static_cast<double>(layers.inside()) /
                  static_cast<double>(layers.outputs() + (layers.outputs() == 0)),
              static_cast<long long>(layers.outputs()));
  return failures == 0 ? 0 : 1;
}

}  // namespace
}  // namespace qsparse::fuzz

int main(int count, char** values) {
  qsparse::fuzz::Arguments arguments;
  if (!qsparse::fuzz::Parse(count, values, &arguments)) {
    std::fprintf(stderr,
                 "usage: %s [--seconds S] [--cases N] [--seed S] [--isa NAME]... "
                 "[--max-macs N >= 1000]\n",
                 values[0]);
    return 2;
  }
  qsparse::fuzz::CatchSignals();
  return qsparse::fuzz::Main(arguments);
}
