// Runs a model with and without the delegate, and compares speed and outputs.
//
//   run_model model.tflite libqsparse_delegate.so [option=value ...]
//
// Links the TensorFlow Lite C library; of qsparse it needs the one shared library,
// opened at run time.
#include <dlfcn.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "tflite_c_api.h"

namespace {

constexpr int kRounds = 50;
constexpr int kOk = 0;

template <auto Delete>
struct Deleter {
  template <typename T>
  void operator()(T* object) const {
    Delete(object);
  }
};
template <typename T, auto Delete>
using Owned = std::unique_ptr<T, Deleter<Delete>>;

using Model = Owned<TfLiteModel, TfLiteModelDelete>;
using Interpreter = Owned<TfLiteInterpreter, TfLiteInterpreterDelete>;
using Xnnpack = Owned<TfLiteDelegate, TfLiteXNNPackDelegateDelete>;
using InterpreterOptions =
    Owned<TfLiteInterpreterOptions, TfLiteInterpreterOptionsDelete>;
using Bytes = std::vector<uint8_t>;

[[noreturn]] void Fail(const std::string& message) {
  std::fprintf(stderr, "run_model: %s\n", message.c_str());
  std::exit(1);
}

// The library stays open: the delegate's code must outlive every interpreter.
class DelegatePlugin {
 public:
  explicit DelegatePlugin(const char* path) {
    void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) Fail(dlerror());
    create_ = reinterpret_cast<Create>(dlsym(library, "tflite_plugin_create_delegate"));
    destroy_ =
        reinterpret_cast<Destroy>(dlsym(library, "tflite_plugin_destroy_delegate"));
    if (create_ == nullptr || destroy_ == nullptr) {
      Fail(std::string(path) + " is no delegate plugin");
    }
  }

  std::unique_ptr<TfLiteDelegate, void (*)(TfLiteDelegate*)> New(
      const std::vector<std::string>& options) const {
    std::vector<std::string> names, texts;
    for (const std::string& option : options) {
      const size_t equals = option.find('=');
      if (equals == std::string::npos) Fail("not option=value: " + option);
      names.push_back(option.substr(0, equals));
      texts.push_back(option.substr(equals + 1));
    }
    std::vector<const char*> keys, values;
    for (size_t i = 0; i < names.size(); ++i) {
      keys.push_back(names[i].c_str());
      values.push_back(texts[i].c_str());
    }
    TfLiteDelegate* delegate =
        create_(keys.data(), values.data(), keys.size(),
                [](const char* message) { std::fprintf(stderr, "%s\n", message); });
    if (delegate == nullptr) Fail("the delegate refused its options");
    return {delegate, destroy_};
  }

 private:
  using Create = TfLiteDelegate* (*)(const char* const* keys,
                                     const char* const* values, size_t count,
                                     void (*report_error)(const char*));
  using Destroy = void (*)(TfLiteDelegate*);
  Create create_;
  Destroy destroy_;
};

// The first delegate is asked first, the next one takes what it leaves.
Interpreter NewInterpreter(const TfLiteModel& model,
                           std::initializer_list<TfLiteDelegate*> delegates) {
  const InterpreterOptions options(TfLiteInterpreterOptionsCreate());
  TfLiteInterpreterOptionsSetNumThreads(options.get(), 1);
  for (TfLiteDelegate* delegate : delegates) {
    TfLiteInterpreterOptionsAddDelegate(options.get(), delegate);
  }
  Interpreter result(TfLiteInterpreterCreate(&model, options.get()));
  if (result == nullptr) Fail("cannot create an interpreter");
  if (TfLiteInterpreterAllocateTensors(result.get()) != kOk) {
    Fail("cannot allocate the tensors");
  }
  return result;
}

// The same bytes for every interpreter, over the whole range of an int8 input.
void FillInputs(TfLiteInterpreter* interpreter) {
  uint32_t state = 1;
  for (int32_t i = 0; i < TfLiteInterpreterGetInputTensorCount(interpreter); ++i) {
    TfLiteTensor* tensor = TfLiteInterpreterGetInputTensor(interpreter, i);
    auto* bytes = static_cast<uint8_t*>(TfLiteTensorData(tensor));
    for (size_t b = 0; b < TfLiteTensorByteSize(tensor); ++b) {
      state = state * 1664525 + 1013904223;
      bytes[b] = static_cast<uint8_t>(state >> 24);
    }
  }
}

double InvokeMicroseconds(TfLiteInterpreter* interpreter) {
  const auto start = std::chrono::steady_clock::now();
  if (TfLiteInterpreterInvoke(interpreter) != kOk) Fail("invoke failed");
  const std::chrono::duration<double, std::micro> time =
      std::chrono::steady_clock::now() - start;
  return time.count();
}

// Of all outputs, one after the other.
Bytes ReadOutputs(const TfLiteInterpreter* interpreter) {
  Bytes result;
  for (int32_t i = 0; i < TfLiteInterpreterGetOutputTensorCount(interpreter); ++i) {
    const TfLiteTensor* tensor = TfLiteInterpreterGetOutputTensor(interpreter, i);
    const auto* bytes = static_cast<const uint8_t*>(TfLiteTensorData(tensor));
    result.insert(result.end(), bytes, bytes + TfLiteTensorByteSize(tensor));
  }
  return result;
}

double Median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    Fail("usage: run_model model.tflite libqsparse_delegate.so [option=value ...]");
  }
  const Model model(TfLiteModelCreateFromFile(argv[1]));
  if (model == nullptr) Fail(std::string("cannot read ") + argv[1]);
  const DelegatePlugin plugin(argv[2]);
  // Declared first, deleted last: an interpreter uses its delegates to the end.
  // XNNPACK is named because not every build of the C library has it by default,
  // and the runtime's other kernels are slower and round differently.
  const auto delegate = plugin.New({argv + 3, argv + argc});
  const Xnnpack rest(TfLiteXNNPackDelegateCreate(nullptr));
  const Xnnpack all(TfLiteXNNPackDelegateCreate(nullptr));
  const Interpreter without = NewInterpreter(*model, {all.get()});
  const Interpreter with = NewInterpreter(*model, {delegate.get(), rest.get()});
  FillInputs(without.get());
  FillInputs(with.get());

  // In turns, so that a change of the clock speed meets both.
  std::vector<double> without_times, with_times;
  for (int i = 0; i < kRounds; ++i) {
    without_times.push_back(InvokeMicroseconds(without.get()));
    with_times.push_back(InvokeMicroseconds(with.get()));
  }
  const double dense = Median(without_times), sparse = Median(with_times);
  std::printf("runtime         TensorFlow Lite %s\n", TfLiteVersion());
  std::printf("without         %.1f us\n", dense);
  std::printf("with delegate   %.1f us, %.2fx\n", sparse, dense / sparse);
  const Bytes expected = ReadOutputs(without.get()), actual = ReadOutputs(with.get());
  if (expected.size() != actual.size()) Fail("outputs of different sizes");
  size_t differing = 0;
  for (size_t i = 0; i < expected.size(); ++i) differing += expected[i] != actual[i];
  std::printf("outputs         %zu of %zu bytes differ\n", differing, expected.size());
  return differing == 0 ? 0 : 2;
}
