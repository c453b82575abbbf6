#include "plan/plan.h"

#include <cstdio>

namespace qsparse {
namespace {

std::string Dims(const std::vector<int32_t>& dims) {
  std::string text = "[";
  for (size_t i = 0; i < dims.size(); ++i) {
    text += (i == 0 ? "" : ", ") + std::to_string(dims[i]);
  }
  return text + "]";
}

std::string Number(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.4f", value);
  return text;
}

// Every string written is one of our own and needs no escapes.
std::string Quoted(const std::string& text) {
  return text.empty() ? "null" : "\"" + text + "\"";
}

std::string ToJson(const Decision& d) {
  return "  {\"node\": " + std::to_string(d.node) +
         ", \"op\": " + Quoted(OpName(d.op)) +
         ", \"output_tensor\": " + std::to_string(d.output_tensor) +
         ", \"input_shape\": " + Dims(d.input_dims) +
         ", \"weight_shape\": " + Dims(d.weight_dims) +
         ", \"output_shape\": " + Dims(d.output_dims) +
         ", \"macs\": " + std::to_string(d.macs) +
         ", \"pattern\": " + Quoted(d.pattern.name) +
         ", \"density\": " + Number(d.pattern.density) +
         ", \"block_density\": " + Number(d.pattern.block_density) +
         ", \"kernel\": " + Quoted(d.kernel) + ", \"isa\": " + Quoted(d.isa) +
         ", \"predicted_gain\": " + Number(d.gain) +
         ", \"claimed\": " + (d.claimed ? "true" : "false") +
         ", \"group\": " + (d.claimed ? std::to_string(d.group) : "null") +
         ", \"reason\": " + Quoted(d.reason) + "}";
}

}  // namespace

bool WritePlan(const std::string& path, const std::vector<Decision>& plan) {
  std::string text = "[\n";
  for (size_t i = 0; i < plan.size(); ++i) {
    text += ToJson(plan[i]) + (i + 1 < plan.size() ? ",\n" : "\n");
  }
  text += "]\n";
  std::FILE* file = std::fopen(path.c_str(), "w");
  if (file == nullptr) return false;
  const bool written = std::fwrite(text.data(), 1, text.size(), file) == text.size();
  return (std::fclose(file) == 0) && written;
}

}  // namespace qsparse
