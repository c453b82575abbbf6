#include "plan/options.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <mutex>

#include "base/cpu.h"
#include "plan/kernel_choice.h"

namespace qsparse {
namespace {

constexpr int32_t kMaxThreads = 256;

bool ParseInt(const std::string& text, int32_t low, int32_t high, int32_t* value) {
  char* end = nullptr;
  const long parsed = std::strtol(text.c_str(), &end, 10);
  if (text.empty() || *end != '\0' || parsed < low || parsed > high) return false;
  *value = static_cast<int32_t>(parsed);
  return true;
}

bool ParseGain(const std::string& text, double* value) {
  char* end = nullptr;
  *value = std::strtod(text.c_str(), &end);
  return !text.empty() && *end == '\0' && std::isfinite(*value) && *value >= 0.0;
}

bool ParseSwitch(const std::string& text, bool* value) {
  *value = text == "1";
  return text == "0" || text == "1";
}

// An ISA this CPU lacks is replaced, with one line on stderr per process.
bool ResolveIsa(const std::string& name, const Options& options, Isa* isa) {
  if (name.empty() || name == "auto") {
    *isa = options.cpu.isa;
    return true;
  }
  if (!ParseIsa(name, isa)) return false;
  if (!options.only_plan && !IsSupported(*isa)) {
    static std::once_flag once;
    const Isa best = ThisCpu().isa;
    std::call_once(once, [&name, best] {
      std::fprintf(stderr, "qsparse: this CPU has no %s; using %s\n", name.c_str(),
                   IsaName(best));
    });
    *isa = best;
  }
  return true;
}

bool ParseOne(const std::string& key, const std::string& value, Options* options,
              std::string* isa) {
  if (key == "threads") return ParseInt(value, 0, kMaxThreads, &options->threads);
  if (key == "min_gain") return ParseGain(value, &options->min_gain);
  if (key == "log") return ParseInt(value, 0, 2, &options->log);
  if (key == "dense") return ParseSwitch(value, &options->dense);
  if (key == "chains") return ParseSwitch(value, &options->chains);
  if (key == "regions") return ParseSwitch(value, &options->regions);
  if (key == "kernel") {
    options->kernel = value;
    return IsKernelName(value);
  }
  if (key == "plan") {
    options->plan_path = value;
    return true;
  }
  if (key == "cpu") {
    options->only_plan = value != "auto";
    return value == "auto" || FindCpu(value, &options->cpu);
  }
  *isa = value;
  return value.empty() || value == "auto" || ParseIsa(value, &options->isa);
}

bool IsKnown(const std::string& key) {
  for (const char* known : {"threads", "isa", "kernel", "chains", "regions", "min_gain",
                            "dense", "plan", "log", "cpu"}) {
    if (key == known) return true;
  }
  return false;
}

}  // namespace

std::string ParseOptions(const char* const* keys, const char* const* values,
                         size_t count, Options* options) {
  if (count != 0 && (keys == nullptr || values == nullptr)) {
    return "qsparse: option arrays are missing";
  }
  std::string isa;
  for (size_t i = 0; i < count; ++i) {
    const std::string key = keys[i] == nullptr ? "" : keys[i];
    const std::string value = values[i] == nullptr ? "" : values[i];
    if (!IsKnown(key)) {
      return "qsparse: unknown option '" + key +
             "' (known: threads, isa, kernel, chains, regions, min_gain, dense, plan, log, cpu)";
    }
    if (!ParseOne(key, value, options, &isa)) {
      return "qsparse: bad value '" + value + "' for option '" + key + "'";
    }
  }
  // The environment wins, so that a run can be compared without code changes.
  if (const char* forced = std::getenv("QSPARSE_ISA"); forced != nullptr) isa = forced;
  if (!ResolveIsa(isa, *options, &options->isa)) {
    return "qsparse: bad value '" + isa + "' for QSPARSE_ISA";
  }
  if (options->only_plan && options->plan_path.empty() && options->log == 0) {
    return "qsparse: the option 'cpu' plans for a CPU and runs nothing; it needs "
           "'plan' or 'log'";
  }
  return "";
}

}  // namespace qsparse
