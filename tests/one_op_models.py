"""Write int8 .tflite files of a single operator, with known numerics.

The scales are chosen from the weights so that outputs are neither constant nor
saturated: a comparison of two runtimes on them means something.
"""

import dataclasses

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

ACTIVATIONS = {
    None: schema.ActivationFunctionType.NONE,
    "relu": schema.ActivationFunctionType.RELU,
    "relu6": schema.ActivationFunctionType.RELU6,
    "relu_n1_to_1": schema.ActivationFunctionType.RELU_N1_TO_1,
}


@dataclasses.dataclass
class OneOpModel:
    """The file and everything an independent reference needs."""

    content: bytes
    weights: np.ndarray
    bias: np.ndarray
    input_shape: tuple[int, ...]
    input_zero_point: int
    output_zero_point: int
    input_scale: np.float32
    output_scale: np.float32
    weight_scales: np.ndarray
    activation: str | None
    stride: int = 1
    padding: str = "same"

    def input(self, seed: int = 0) -> np.ndarray:
        """Smooth, correlated data over the whole int8 range, not white noise."""
        rng = np.random.default_rng(seed)
        flat = rng.normal(size=self.input_shape)
        last = flat.ndim - 1
        flat = flat + 0.5 * np.roll(flat, 1, axis=last)
        return np.clip(np.rint(flat * 50 + 10), -128, 127).astype(np.int8)


def sparse_weights(shape, pattern, density=1.0, seed=0):
    """Int8 weights of `shape` (outputs first, inputs last), zero by `pattern`.

    `pattern` is "dense", "4x4" (random blocks), "1:4 4x4" (balanced blocks),
    "2:4" or "unstructured".
    """
    rng = np.random.default_rng(seed)
    weights = rng.integers(-127, 128, size=shape)
    weights[weights == 0] = 1
    outputs, inputs = shape[0], shape[-1]
    middle = shape[1:-1]
    groups, quads = -(-outputs // 4), -(-inputs // 4)
    if pattern == "dense":
        keep = np.ones(shape, bool)
    elif pattern == "unstructured":
        keep = rng.random(shape) < density
    elif pattern == "2:4":
        scores = rng.random((*shape[:-1], inputs // 4, 4))
        keep = (scores.argsort(-1).argsort(-1) < 2).reshape(shape)
    else:
        scores = rng.random((groups, *middle, quads))
        if pattern == "1:4 4x4":
            runs = scores.reshape(groups, *middle, quads // 4, 4)
            blocks = (runs == runs.max(-1, keepdims=True)).reshape(scores.shape)
        else:
            blocks = scores < density
        keep = blocks.repeat(4, axis=0).repeat(4, axis=-1)[:outputs, ..., :inputs]
    return np.where(keep, weights, 0).astype(np.int8)


def fully_connected_model(
    weights,
    m=1,
    *,
    leading=None,
    input_zero_point=3,
    output_zero_point=-5,
    activation=None,
    per_channel=True,
    bias=True,
    keep_num_dims=False,
    layers=1,
):
    """One (or `layers` parallel) FULLY_CONNECTED with `weights` [N, K]."""
    outputs, inputs = weights.shape
    input_shape = (*(leading or (m,)), inputs)
    rows = int(np.prod(input_shape[:-1]))
    output_shape = (*input_shape[:-1], outputs) if keep_num_dims else (rows, outputs)
    options = schema.FullyConnectedOptionsT()
    options.fusedActivationFunction = ACTIVATIONS[activation]
    options.keepNumDims = keep_num_dims
    return _write(
        weights,
        input_shape,
        output_shape,
        options,
        input_zero_point,
        output_zero_point,
        activation,
        per_channel,
        bias,
        layers,
        1,
        "same",
    )


def conv2d_model(
    weights,
    h,
    w,
    *,
    batch=1,
    stride=1,
    padding="same",
    dilation=1,
    input_zero_point=3,
    output_zero_point=-5,
    activation=None,
    per_channel=True,
    bias=True,
    layers=1,
):
    """One (or `layers` parallel) CONV_2D with `weights` [N, kh, kw, C]."""
    outputs, kh, kw, channels = weights.shape
    if padding == "same":
        out = [-(-n // stride) for n in (h, w)]
    else:
        reach = [(k - 1) * dilation + 1 for k in (kh, kw)]
        out = [(n - r) // stride + 1 for n, r in zip((h, w), reach, strict=True)]
    options = schema.Conv2DOptionsT()
    options.padding = getattr(schema.Padding, padding.upper())
    options.strideH = options.strideW = stride
    options.dilationHFactor = options.dilationWFactor = dilation
    options.fusedActivationFunction = ACTIVATIONS[activation]
    return _write(
        weights,
        (batch, h, w, channels),
        (batch, *out, outputs),
        options,
        input_zero_point,
        output_zero_point,
        activation,
        per_channel,
        bias,
        layers,
        stride,
        padding,
    )


def _write(
    weights,
    input_shape,
    output_shape,
    options,
    input_zero_point,
    output_zero_point,
    activation,
    per_channel,
    bias,
    layers,
    stride,
    padding,
):
    outputs = weights.shape[0]
    rng = np.random.default_rng(1)
    scales = np.full(1, 0.01)
    if per_channel:
        scales = rng.uniform(0.005, 0.02, outputs)
    scales = scales.astype(np.float32)
    input_scale = np.float32(0.05)
    # An output is a sum of independent products; aim at a deviation of 40 steps.
    flat = weights.reshape(outputs, -1).astype(np.float64)
    deviation = np.sqrt((flat**2).sum(1)) * 56 * scales * input_scale
    wanted = 40.0 if activation in (None, "relu") else 12.0
    output_scale = np.float32(max(deviation.mean(), 1e-3) / wanted)
    if activation in ("relu6", "relu_n1_to_1"):
        output_scale = np.float32(0.04)
        scales = (scales * (1.5 / max(deviation.mean(), 1e-6))).astype(np.float32)
    step = input_scale * scales * np.ones(outputs)
    bias_values = np.rint(rng.normal(size=outputs) * 20 * output_scale / step)
    bias_values = bias_values.astype(np.int32)
    if not bias:
        bias_values[:] = 0

    model = schema.ModelT()
    model.version = 3
    model.buffers = [schema.BufferT()]
    graph = schema.SubGraphT()
    graph.tensors, graph.operators = [], []
    is_conv = weights.ndim == 4
    code = schema.OperatorCodeT()
    builtin = schema.BuiltinOperator
    code.builtinCode = builtin.CONV_2D if is_conv else builtin.FULLY_CONNECTED
    code.deprecatedBuiltinCode = code.builtinCode
    code.version = 5
    model.operatorCodes = [code]

    def add(shape, kind, scale, zero_points, name, data=None):
        tensor = schema.TensorT()
        tensor.shape = list(shape)
        tensor.type = kind
        tensor.name = name
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale = np.asarray(scale, np.float32)
        tensor.quantization.zeroPoint = np.asarray(zero_points, np.int64)
        tensor.quantization.quantizedDimension = 0
        tensor.buffer = 0
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(data.tobytes(), np.uint8)
            tensor.buffer = len(model.buffers)
            model.buffers.append(buffer)
        graph.tensors.append(tensor)
        return len(graph.tensors) - 1

    int8, int32 = schema.TensorType.INT8, schema.TensorType.INT32
    source = add(input_shape, int8, [input_scale], [input_zero_point], "input")
    graph.inputs, graph.outputs = [source], []
    options_type = schema.BuiltinOptions
    for i in range(layers):
        kernel = add(
            weights.shape, int8, scales, np.zeros(len(scales)), f"w{i}", weights
        )
        inputs = [source, kernel]
        if bias:
            bias_scales = input_scale * scales
            zeros = np.zeros(len(scales))
            inputs.append(
                add((outputs,), int32, bias_scales, zeros, f"b{i}", bias_values)
            )
        result = add(
            output_shape, int8, [output_scale], [output_zero_point], f"output{i}"
        )
        operator = schema.OperatorT()
        operator.opcodeIndex = 0
        operator.inputs, operator.outputs = inputs, [result]
        operator.builtinOptionsType = (
            options_type.Conv2DOptions
            if is_conv
            else options_type.FullyConnectedOptions
        )
        operator.builtinOptions = options
        graph.operators.append(operator)
        graph.outputs.append(result)
    model.subgraphs = [graph]

    builder = flatbuffers.Builder(1024 + weights.nbytes * 2 * layers)
    builder.Finish(model.Pack(builder), b"TFL3")
    return OneOpModel(
        content=bytes(builder.Output()),
        weights=weights,
        bias=bias_values,
        input_shape=tuple(input_shape),
        input_zero_point=input_zero_point,
        output_zero_point=output_zero_point,
        input_scale=input_scale,
        output_scale=output_scale,
        weight_scales=scales,
        activation=activation,
        stride=stride,
        padding=padding,
    )
