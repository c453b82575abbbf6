// The part of LiteRT's C ABI that an external delegate touches.
//
// LiteRT ships no headers in its wheels, and calls this ABI "semi-stable, only
// append", so the declarations are written out here. Enumerations are plain
// integers: a value this file does not know must not be undefined behaviour.
#ifndef QSPARSE_LITERT_LITERT_ABI_H_
#define QSPARSE_LITERT_LITERT_ABI_H_

#include <cstddef>
#include <cstdint>

namespace qsparse::litert {

using Status = int32_t;
inline constexpr Status kOk = 0;
inline constexpr Status kError = 1;

inline constexpr int32_t kTypeFloat32 = 1;
inline constexpr int32_t kTypeInt32 = 2;
inline constexpr int32_t kTypeBool = 6;
inline constexpr int32_t kTypeInt8 = 9;

inline constexpr int32_t kBuiltinAdd = 0;
inline constexpr int32_t kBuiltinConv2d = 3;
inline constexpr int32_t kBuiltinDequantize = 6;
inline constexpr int32_t kBuiltinFullyConnected = 9;
inline constexpr int32_t kBuiltinMaxPool2d = 17;
inline constexpr int32_t kBuiltinMul = 18;
inline constexpr int32_t kBuiltinSoftmax = 25;
inline constexpr int32_t kBuiltinPad = 34;
inline constexpr int32_t kBuiltinSub = 41;
inline constexpr int32_t kBuiltinNeg = 59;
inline constexpr int32_t kBuiltinSum = 74;
inline constexpr int32_t kBuiltinRsqrt = 76;
inline constexpr int32_t kBuiltinSquare = 92;
inline constexpr int32_t kBuiltinSquaredDifference = 99;
inline constexpr int32_t kBuiltinQuantize = 114;
inline constexpr int32_t kBuiltinSelectV2 = 123;
inline constexpr int32_t kBuiltinBatchMatmul = 126;
inline constexpr int32_t kBuiltinGelu = 150;

inline constexpr int32_t kMmapRo = 1;
inline constexpr int32_t kAffineQuantization = 1;
inline constexpr int32_t kPaddingSame = 1;
inline constexpr int32_t kPaddingValid = 2;
inline constexpr int32_t kActivationNone = 0;
inline constexpr int32_t kActivationRelu = 1;
inline constexpr int32_t kActivationReluN1To1 = 2;
inline constexpr int32_t kActivationRelu6 = 3;
inline constexpr int64_t kAllowDynamicTensors = 1;

// A length followed by that many elements.
struct IntArray {
  int32_t size;
  const int32_t* data() const {
    return reinterpret_cast<const int32_t*>(this + 1);
  }
  int32_t* data() { return reinterpret_cast<int32_t*>(this + 1); }
};

struct FloatArray {
  int32_t size;
  const float* data() const { return reinterpret_cast<const float*>(this + 1); }
};

struct LegacyQuantization {
  float scale;
  int32_t zero_point;
};

struct Quantization {
  int32_t type;
  void* params;
};

struct AffineQuantization {
  FloatArray* scale;
  IntArray* zero_point;
  int32_t quantized_dimension;
};

struct Delegate;

struct Tensor {
  int32_t type;
  void* data;
  IntArray* dims;
  LegacyQuantization legacy_quantization;
  int32_t allocation_type;
  size_t bytes;
  const void* allocation;
  const char* name;
  Delegate* delegate;
  int32_t buffer_handle;
  bool data_is_stale;
  bool is_variable;
  Quantization quantization;
  void* sparsity;
  const IntArray* dims_signature;
};

struct Node {
  IntArray* inputs;
  IntArray* outputs;
  IntArray* intermediates;
  IntArray* temporaries;
  void* user_data;
  void* builtin_data;
  const void* custom_initial_data;
  int32_t custom_initial_data_size;
  Delegate* delegate;
  bool might_have_side_effect;
};

struct Context;
struct DelegateParams;

struct Registration {
  void* (*init)(Context* context, const char* buffer, size_t length);
  void (*free)(Context* context, void* buffer);
  Status (*prepare)(Context* context, Node* node);
  Status (*invoke)(Context* context, Node* node);
  const char* (*profiling_string)(const Context* context, const Node* node);
  int32_t builtin_code;
  const char* custom_name;
  int32_t version;
  void* registration_external;
  void* async_kernel;
  uint64_t inplace_operator;
};

struct DelegateParams {
  Delegate* delegate;
  IntArray* nodes_to_replace;
  IntArray* input_tensors;
  IntArray* output_tensors;
};

// Only the prefix up to what is called here; the runtime's struct is longer.
struct Context {
  size_t tensors_size;
  Status (*get_execution_plan)(Context* context, IntArray** plan);
  Tensor* tensors;
  void* impl;
  Status (*resize_tensor)(Context* context, Tensor* tensor, IntArray* dims);
  void (*report_error)(Context* context, const char* format, ...);
  Status (*add_tensors)(Context* context, int32_t count, int32_t* first);
  Status (*get_node_and_registration)(Context* context, int32_t index,
                                      Node** node, Registration** registration);
  Status (*replace_node_subsets_with_delegate_kernels)(
      Context* context, Registration registration, const IntArray* nodes,
      Delegate* delegate);
  int32_t recommended_num_threads;
  const void* not_used[8];
  Status (*resize_tensor_explicit)(Context* context, Tensor* tensor, int32_t dims,
                                   const int32_t* shape);
  // The runtime keeps what it hands out until the next call.
  Status (*preview_delegate_partitioning)(Context* context, const IntArray* nodes,
                                          DelegateParams** partitions, int32_t* count);
};

struct Delegate {
  void* data;
  Status (*prepare)(Context* context, Delegate* delegate);
  void* copy_from_buffer_handle;
  void* copy_to_buffer_handle;
  void* free_buffer_handle;
  int64_t flags;
  void* opaque_delegate_builder;
};

struct FullyConnectedParams {
  int32_t activation;
  int32_t weights_format;
  bool keep_num_dims;
  bool asymmetric_quantize_inputs;
  int32_t quantized_bias_type;
};

struct ConvParams {
  int32_t padding;
  int32_t stride_width;
  int32_t stride_height;
  int32_t activation;
  int32_t dilation_width_factor;
  int32_t dilation_height_factor;
  int32_t quantized_bias_type;
};

struct AddParams {
  int32_t activation;
  bool pot_scale_int16;
};

struct PoolParams {
  int32_t padding;
  int32_t stride_width;
  int32_t stride_height;
  int32_t filter_width;
  int32_t filter_height;
  int32_t activation;
  int32_t computed_padding[4];
};

struct SoftmaxParams {
  float beta;
};

struct GeluParams {
  bool approximate;
};

struct ReducerParams {
  bool keep_dims;
};

struct BatchMatmulParams {
  bool adj_x;
  bool adj_y;
  bool asymmetric_quantize_inputs;
};

// Measured on LiteRT 2.3.0 for 64-bit targets, the only ones supported.
static_assert(sizeof(void*) == 8, "64-bit targets only");
static_assert(sizeof(IntArray) == 4 && sizeof(FloatArray) == 4);
static_assert(sizeof(Tensor) == 112 && offsetof(Tensor, quantization) == 80);
static_assert(offsetof(Tensor, bytes) == 40 && offsetof(Tensor, sparsity) == 96);
static_assert(sizeof(Node) == 80 && offsetof(Node, builtin_data) == 40);
static_assert(sizeof(Registration) == 88);
static_assert(offsetof(Registration, builtin_code) == 40);
static_assert(sizeof(Delegate) == 56 && offsetof(Delegate, flags) == 40);
static_assert(offsetof(Context, recommended_num_threads) == 72);
static_assert(offsetof(Context, preview_delegate_partitioning) == 152);
static_assert(sizeof(AddParams) == 8 && sizeof(PoolParams) == 40);
static_assert(sizeof(SoftmaxParams) == 4 && sizeof(BatchMatmulParams) == 3);
static_assert(sizeof(FullyConnectedParams) == 16 && sizeof(ConvParams) == 28);

}  // namespace qsparse::litert

#endif  // QSPARSE_LITERT_LITERT_ABI_H_
