"""Write int8 .tflite files of several CONV_2D, FULLY_CONNECTED and ADD operators.

A `Graph` follows the values of a real input as it grows, in floating point, and takes
the scale of every tensor from them: no tensor is constant or saturated, however long
the chain.
"""

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from benchmarks.one_op_models import ACTIVATIONS


class Graph:
    """Tensors are numbers; `content` is the file."""

    def __init__(self, shape, zero_point=3, seed=0):
        self._rng = np.random.default_rng(seed)
        self._model = schema.ModelT()
        self._model.version = 3
        self._model.buffers = [schema.BufferT()]
        self._model.operatorCodes = []
        self._graph = schema.SubGraphT()
        self._graph.tensors, self._graph.operators = [], []
        self._values = {}
        self._model.subgraphs = [self._graph]
        self.shape = shape
        steps = self._rng.normal(size=shape) * 50 + 10
        self.sample = np.clip(np.rint(steps), -128, 127).astype(np.int8)
        self.input = self._tensor(shape, [0.05], [zero_point])
        self._values[self.input] = (self.sample - np.float64(zero_point)) * 0.05
        self._graph.inputs = [self.input]

    def fc(self, x, weights, activation=None, zero_point=-5, keep_num_dims=True):
        """FULLY_CONNECTED with int8 `weights` [N, K]."""
        options = schema.FullyConnectedOptionsT()
        options.keepNumDims = keep_num_dims
        scales = self._weight_scales(weights)
        kernel = weights * scales[:, None].astype(np.float64)
        values = self._values[x].reshape(-1, weights.shape[1]) @ kernel.T
        if keep_num_dims:
            values = values.reshape(*self._values[x].shape[:-1], len(weights))
        return self._layer(
            x,
            weights,
            scales,
            values,
            options,
            "FULLY_CONNECTED",
            activation,
            zero_point,
        )

    def conv(
        self, x, weights, stride=1, padding="same", activation=None, zero_point=-5
    ):
        """CONV_2D with int8 `weights` [N, kh, kw, C]."""
        options = schema.Conv2DOptionsT()
        options.padding = getattr(schema.Padding, padding.upper())
        options.strideH = options.strideW = stride
        options.dilationHFactor = options.dilationWFactor = 1
        scales = self._weight_scales(weights)
        kernel = weights * scales[:, None, None, None].astype(np.float64)
        values = _convolve(self._values[x], kernel, stride, padding)
        return self._layer(
            x, weights, scales, values, options, "CONV_2D", activation, zero_point
        )

    def add(self, x, y, activation=None, zero_point=7):
        options = schema.AddOptionsT()
        values = self._values[x] + self._values[y]
        output = self._output(values, activation, zero_point)
        self._operator("ADD", [x, y], output, options, activation)
        return output

    def rescale(self, x, factor):
        """Makes every step of a tensor worth more: only as a last change to it."""
        self._values[x] = self._values[x] * factor
        self._graph.tensors[x].quantization.scale *= np.float32(factor)

    def finish(self, *outputs):
        """The file, with these tensors as results."""
        self._graph.outputs = list(outputs)
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(self._model.Pack(builder), b"TFL3")
        self.content = bytes(builder.Output())
        return self

    def _weight_scales(self, weights):
        # Outputs about as large as inputs, or sums of two branches would be one-sided.
        gain = np.sqrt((weights.reshape(len(weights), -1) ** 2.0).sum(1).mean())
        return (self._rng.uniform(0.5, 1.5, len(weights)) / gain).astype(np.float32)

    def _layer(self, x, weights, scales, values, options, kind, activation, zero_point):
        step = self._graph.tensors[x].quantization.scale[0] * scales
        deviation = max(values.std(), 1e-6)
        bias = np.rint(self._rng.normal(size=len(weights)) * deviation / 3 / step)
        bias = bias.astype(np.int32)
        zeros = np.zeros(len(scales))
        inputs = [
            x,
            self._tensor(weights.shape, scales, zeros, data=weights),
            self._tensor(bias.shape, step, zeros, schema.TensorType.INT32, bias),
        ]
        output = self._output(values + bias * step, activation, zero_point)
        self._operator(kind, inputs, output, options, activation)
        return output

    def _output(self, values, activation, zero_point):
        if activation is not None:
            top = 6.0 if activation == "relu6" else np.inf
            values = np.clip(values, 0, top)
        scale = np.float32(max(np.sqrt((values**2).mean()), 1e-6) / 40)
        output = self._tensor(values.shape, [scale], [zero_point])
        # What follows sees the rounded, clipped values.
        steps = np.clip(np.rint(values / scale) + zero_point, -128, 127)
        self._values[output] = (steps - zero_point) * np.float64(scale)
        return output

    def _operator(self, kind, inputs, output, options, activation):
        builtin = getattr(schema.BuiltinOperator, kind)
        codes = [code.builtinCode for code in self._model.operatorCodes]
        if builtin not in codes:
            code = schema.OperatorCodeT()
            code.builtinCode = code.deprecatedBuiltinCode = builtin
            code.version = 2 if kind == "ADD" else 5
            self._model.operatorCodes.append(code)
            codes.append(builtin)
        options.fusedActivationFunction = ACTIVATIONS[activation]
        operator = schema.OperatorT()
        operator.opcodeIndex = codes.index(builtin)
        operator.inputs, operator.outputs = inputs, [output]
        names = {"ADD": "Add", "CONV_2D": "Conv2D", "FULLY_CONNECTED": "FullyConnected"}
        operator.builtinOptionsType = getattr(
            schema.BuiltinOptions, f"{names[kind]}Options"
        )
        operator.builtinOptions = options
        self._graph.operators.append(operator)

    def _tensor(
        self, shape, scale, zero_points, kind=schema.TensorType.INT8, data=None
    ):
        tensor = schema.TensorT()
        tensor.shape = list(shape)
        tensor.type = kind
        tensor.name = f"t{len(self._graph.tensors)}"
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


def _convolve(x, kernel, stride, padding):
    _, kh, kw, _ = kernel.shape
    if padding == "same":
        pads = []
        for size, k in zip(x.shape[1:3], (kh, kw), strict=True):
            total = max((-(-size // stride) - 1) * stride + k - size, 0)
            pads.append((total // 2, total - total // 2))
        x = np.pad(x, ((0, 0), *pads, (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (kh, kw), axis=(1, 2))
    windows = windows[:, ::stride, ::stride]
    return np.einsum("bhwcij,nijc->bhwn", windows, kernel, optimize=True)
