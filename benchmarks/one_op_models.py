"""Write int8 .tflite files of a single operator, with known numerics.

The scales are chosen from the weights so that outputs are neither constant nor
saturated: a comparison of two runtimes on them means something. This file imports
nothing of the package, so that kernel tests can use it where there is no Keras.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

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
        return correlated_input(self.input_shape, seed)


def correlated_input(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Returns int8 values of `shape`; neighbours on the last axis are correlated."""
    flat = np.random.default_rng(seed).normal(size=shape)
    flat = flat + 0.5 * np.roll(flat, 1, axis=flat.ndim - 1)
    return np.clip(np.rint(flat * 50 + 10), -128, 127).astype(np.int8)


def fully_connected_model(
    weights: np.ndarray,
    m: int = 1,
    *,
    leading: tuple[int, ...] | None = None,
    input_zero_point: int = 3,
    output_zero_point: int = -5,
    activation: str | None = None,
    per_channel: bool = True,
    bias: bool = True,
    keep_num_dims: bool = False,
    layers: int = 1,
) -> OneOpModel:
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
    weights: np.ndarray,
    h: int,
    w: int,
    *,
    batch: int = 1,
    stride: int = 1,
    padding: str = "same",
    dilation: int = 1,
    input_zero_point: int = 3,
    output_zero_point: int = -5,
    activation: str | None = None,
    per_channel: bool = True,
    bias: bool = True,
    layers: int = 1,
) -> OneOpModel:
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
    weights: np.ndarray,
    input_shape: tuple[int, ...],
    output_shape: tuple[int, ...],
    options: Any,
    input_zero_point: int,
    output_zero_point: int,
    activation: str | None,
    per_channel: bool,
    bias: bool,
    layers: int,
    stride: int,
    padding: str,
) -> OneOpModel:
    outputs = weights.shape[0]
    rng = np.random.default_rng(1)
    scales = np.full(1, 0.01, np.float32)
    if per_channel:
        scales = rng.uniform(0.005, 0.02, (outputs,)).astype(np.float32)
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

    writer = Writer(input_shape, float(input_scale), input_zero_point)
    results = [
        writer.add_layer(
            0,
            # Layers of the same bytes could share one copy of them in the cache.
            np.roll(weights, 32 * i, axis=0),
            scales,
            bias_values if bias else None,
            output_shape,
            float(output_scale),
            output_zero_point,
            options,
        )
        for i in range(layers)
    ]
    return OneOpModel(
        content=writer.finish(results),
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


class Writer:
    """Collects the layers of an int8 .tflite file; tensor 0 is its input."""

    def __init__(
        self, input_shape: Sequence[int], input_scale: float, input_zero_point: int
    ) -> None:
        """Starts a file of one input."""
        self._model = schema.ModelT()
        self._model.version = 3
        self._model.buffers = [schema.BufferT()]
        self._model.operatorCodes = []
        self._graph = schema.SubGraphT()
        self._graph.tensors, self._graph.operators = [], []
        int8 = schema.TensorType.INT8
        self._add(input_shape, int8, [input_scale], [input_zero_point], "input")

    def add_layer(
        self,
        source: int,
        weights: np.ndarray,
        weight_scales: np.ndarray,
        bias: np.ndarray | None,
        output_shape: Sequence[int],
        output_scale: float,
        output_zero_point: int,
        options: Any,
    ) -> int:
        """Appends a FULLY_CONNECTED or, with 4-D weights, a CONV_2D.

        Args:
            source: tensor it reads.
            weights: int8, outputs first.
            weight_scales: one, or one per output.
            bias: int32 `(outputs,)` or None.
            output_shape: shape of its result.
            output_scale: scale of its result.
            output_zero_point: zero point of its result.
            options: FullyConnectedOptionsT or Conv2DOptionsT.

        Returns:
            The tensor it writes.
        """
        index = len(self._graph.operators)
        zeros = np.zeros(len(weight_scales))
        int8, int32 = schema.TensorType.INT8, schema.TensorType.INT32
        inputs = [source]
        inputs.append(
            self._add(weights.shape, int8, weight_scales, zeros, f"w{index}", weights)
        )
        if bias is not None:
            scale = self._graph.tensors[source].quantization.scale[0] * weight_scales
            inputs.append(self._add(bias.shape, int32, scale, zeros, f"b{index}", bias))
        result = self._add(
            output_shape, int8, [output_scale], [output_zero_point], f"output{index}"
        )
        name = "Conv2D" if weights.ndim == 4 else "FullyConnected"
        operator = schema.OperatorT()
        operator.opcodeIndex = self._code(
            "CONV_2D" if weights.ndim == 4 else "FULLY_CONNECTED"
        )
        operator.inputs, operator.outputs = inputs, [result]
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, f"{name}Options")
        operator.builtinOptions = options
        self._graph.operators.append(operator)
        return result

    def finish(self, outputs: Sequence[int]) -> bytes:
        """Returns the file, with the given tensors as outputs."""
        self._graph.inputs, self._graph.outputs = [0], list(outputs)
        self._model.subgraphs = [self._graph]
        constants = sum(len(b.data) for b in self._model.buffers if b.data is not None)
        builder = flatbuffers.Builder(1024 + 2 * constants)
        builder.Finish(self._model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def _code(self, op: str) -> int:
        number = getattr(schema.BuiltinOperator, op)
        for index, code in enumerate(self._model.operatorCodes):
            if code.builtinCode == number:
                return index
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = number
        code.version = 5
        self._model.operatorCodes.append(code)
        return len(self._model.operatorCodes) - 1

    def _add(
        self,
        shape: Sequence[int],
        kind: int,
        scale: Any,
        zero_points: Any,
        name: str,
        data: np.ndarray | None = None,
    ) -> int:
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
            tensor.buffer = len(self._model.buffers)
            self._model.buffers.append(buffer)
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1
