"""Random valid int8 graphs: dead ends, shared tensors, several inputs and outputs."""

import copy

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from benchmarks.one_op_models import ACTIVATIONS
from benchmarks.sparse_weights import sparse_weights

from ...row_models import BINARY, RowFile
from .writer import INT8, INT32

_CHANNELS = (4, 8, 16, 22, 32, 48, 64)
_PATTERNS = (("4x4", 0.25), ("4x4", 0.25), ("16x4", 0.25), ("4x4", 0.6), ("4x4", 0.1))
_OTHER_PATTERNS = (("2:4", 1.0), ("1:4", 1.0), ("unstructured", 0.3), ("dense", 1.0))
_DEVIATION = 45  # in steps, of every tensor


class RandomGraph:
    """Grows by operators that read any of the tensors that are there."""

    def __init__(self, seed):
        self._rng = np.random.default_rng(seed)
        self._writer = RowFile()
        self._batch = int(self._pick((1, 1, 2, 3)))
        self._images = self._rng.random() < 0.6
        self._size = int(self._rng.integers(3, 13))
        self._floats = []
        self._inputs = [self._input() for _ in range(self._rng.integers(1, 4))]
        self._tensors = list(self._inputs)
        wanted = int(self._rng.integers(1, 12))
        for _ in range(8 * wanted):
            if len(self._writer.graph.operators) >= wanted:
                break
            kind = self._pick(_KINDS)
            made = kind(self, self._source())
            if made is not None:
                self._tensors.append(made)
        if self._rng.random() < 0.3:
            self._duplicate()
        self.content = self._writer.content(*self._ends())

    def _pick(self, values):
        return values[self._rng.integers(len(values))]

    def _chance(self, probability):
        return self._rng.random() < probability

    def _source(self):
        """Mostly what was made last, so that chains grow long."""
        if self._chance(0.6):
            return self._tensors[-1]
        return self._pick(self._tensors)

    def _quantized(self, shape, scale, zero_point=None):
        if zero_point is None:
            zero_point = int(self._pick((-128, -5, 0, 3, 7)))
        return self._writer.tensor(shape, scale, zero_point)

    def _input(self):
        if self._inputs_alike():
            return self._quantized(self._writer.shape(0), 0.05)
        channels = self._pick(_CHANNELS)
        if self._images:
            shape = (self._batch, self._size, self._size, channels)
        elif self._chance(0.3):
            shape = (self._batch, self._size, channels)
        else:
            shape = (self._pick((1, 5, 17, 40)), channels)
        return self._quantized(shape, 0.05)

    def _inputs_alike(self):
        return bool(self._writer.graph.tensors) and self._chance(0.6)

    def _ends(self):
        """Inputs and outputs in any order; what leads to no output is a dead end."""
        made = [t for t in self._tensors if t not in self._inputs] or self._tensors
        if self._floats and self._chance(0.3):
            made = [*made, *self._floats[-3:]]
        count = min(len(made), int(self._rng.integers(1, 4)))
        outputs = [int(t) for t in self._rng.permutation(made)[:count]]
        if self._chance(0.5) and made[-1] not in outputs:
            outputs[0] = made[-1]
        if self._chance(0.05):
            outputs.append(self._pick(self._tensors))
        inputs = [int(t) for t in self._rng.permutation(self._inputs)]
        if self._chance(0.05):  # an input that is also produced
            inputs.append(int(self._pick(made)))
        return list(dict.fromkeys(inputs)), list(dict.fromkeys(outputs))

    def _duplicate(self):
        """An operator once more, to a tensor of its own."""
        graph = self._writer.graph
        if not graph.operators:
            return
        operator = copy.deepcopy(self._pick(graph.operators))
        tensor = copy.deepcopy(graph.tensors[operator.outputs[0]])
        tensor.name = f"t{len(graph.tensors)}"
        graph.tensors.append(tensor)
        operator.outputs = [len(graph.tensors) - 1]
        graph.operators.append(operator)
        if tensor.type == INT8:
            self._tensors.append(operator.outputs[0])

    def _weights(self, shape):
        patterns = _PATTERNS if self._chance(0.75) else _OTHER_PATTERNS
        pattern, density = self._pick(patterns)
        if ":" in pattern and shape[-1] % 4:
            pattern, density = "dense", 1.0
        return sparse_weights(shape, pattern, density, int(self._rng.integers(1 << 30)))

    def _activation(self):
        return ACTIVATIONS[self._pick((None, None, "relu", "relu6", "relu_n1_to_1"))]

    def _layer(self, name, x, weights, shape, options, **values):
        outputs = len(weights)
        if name == "DEPTHWISE_CONV_2D":
            outputs = weights.shape[-1]
        per_channel = self._chance(0.7) and name != "DEPTHWISE_CONV_2D"
        # Scales neither grow nor shrink along a chain.
        energy = np.sqrt((weights.astype(np.float64) ** 2).sum() / outputs) or 1.0
        wanted = self._rng.uniform(0.02, 0.1) / max(
            energy * self._writer.scale(x), 1e-6
        )
        scales = wanted * self._rng.uniform(0.5, 1.5, outputs if per_channel else 1)
        scales = scales.astype(np.float32)
        step = np.float32(self._writer.scale(x)) * scales
        deviation = max(float(energy * step.mean()) * _DEVIATION, 1e-6)
        inputs = [x, self._writer.tensor(weights.shape, scales, data=weights)]
        # Without XNNPACK, LiteRT refuses convolutions that have none.
        if name != "FULLY_CONNECTED" or self._chance(0.8):
            bias = np.rint(self._rng.normal(size=outputs) * deviation / 3 / step)
            bias = np.clip(bias, -(2**30), 2**30).astype(np.int32)
            inputs.append(self._writer.tensor(bias.shape, step, kind=INT32, data=bias))
        output = self._quantized(shape, deviation / _DEVIATION)
        activation = self._activation()
        return self._writer.operator(
            name, inputs, output, options, fusedActivationFunction=activation, **values
        )

    def fully_connected(self, x):
        shape = self._writer.shape(x)
        channels = shape[-1]
        keep = bool(self._chance(0.6))
        if len(shape) == 4 and self._chance(0.2):
            channels, keep = int(np.prod(shape[1:])), False
        if channels > 2048:
            return None
        weights = self._weights((int(self._pick(_CHANNELS)), channels))
        rows = int(np.prod(shape)) // channels
        result = (*shape[:-1], len(weights)) if keep else (rows, len(weights))
        return self._layer(
            "FULLY_CONNECTED",
            x,
            weights,
            result,
            "FullyConnectedOptions",
            keepNumDims=keep,
        )

    def convolution(self, x):
        shape = self._writer.shape(x)
        if len(shape) != 4:
            return None
        kernel = [int(k) for k in self._pick(((1, 1), (1, 1), (3, 3), (3, 3), (5, 2)))]
        weights = self._weights((int(self._pick(_CHANNELS)), *kernel, shape[3]))
        window = self._window(shape, kernel)
        if window is None:
            return None
        size, values = window
        result = (shape[0], *size, len(weights))
        return self._layer("CONV_2D", x, weights, result, "Conv2DOptions", **values)

    def depthwise(self, x):
        shape = self._writer.shape(x)
        if len(shape) != 4:
            return None
        weights = self._rng.integers(-127, 128, (1, 3, 3, shape[3])).astype(np.int8)
        window = self._window(shape, (3, 3), dilations=(1,))
        if window is None:
            return None
        size, values = window
        return self._layer(
            "DEPTHWISE_CONV_2D",
            x,
            weights,
            (shape[0], *size, shape[3]),
            "DepthwiseConv2DOptions",
            depthMultiplier=1,
            **values,
        )

    def _window(self, shape, kernel, dilations=(1, 1, 1, 2)):
        """Sizes of the result and the fields of the options; None where nothing is."""
        stride = int(self._pick((1, 1, 1, 2)))
        dilation = int(self._pick(dilations))
        same = self._chance(0.7)
        size = []
        for length, k in zip(shape[1:3], kernel, strict=True):
            reach = (k - 1) * dilation + 1
            size.append(
                -(-length // stride) if same else (length - reach) // stride + 1
            )
        if min(size) < 1:
            return None
        values = {
            "padding": schema.Padding.SAME if same else schema.Padding.VALID,
            "strideH": stride,
            "strideW": stride,
        }
        if len(dilations) > 1 or dilation > 1:
            values |= {"dilationHFactor": dilation, "dilationWFactor": dilation}
        return size, values

    def addition(self, x):
        return self._binary("ADD", "AddOptions", x)

    def product(self, x):
        return self._binary("MUL", "MulOptions", x)

    def _binary(self, name, options, x):
        shape = self._writer.shape(x)
        alike = [t for t in self._tensors if self._writer.shape(t) == shape]
        other = self._pick(alike)
        if self._chance(0.15):
            data = self._rng.integers(-127, 128, (shape[-1],)).astype(np.int8)
            other = self._writer.tensor(data.shape, 0.05, 3, data=data)
        scale = 1.4 * max(self._writer.scale(x), self._writer.scale(other))
        if name == "MUL":
            scale = self._writer.scale(x) * self._writer.scale(other) * _DEVIATION
        sides = [x, other] if self._chance(0.5) else [other, x]
        output = self._quantized(shape, scale)
        activation = self._activation()
        return self._writer.operator(
            name, sides, output, options, fusedActivationFunction=activation
        )

    def _like(self, x, shape):
        return self._quantized(shape, self._writer.scale(x), self._writer.zero_point(x))

    def border(self, x):
        shape = self._writer.shape(x)
        if len(shape) != 4:
            return None
        sizes = np.zeros((4, 2), np.int32)
        sizes[1:3] = self._rng.integers(0, 3, (2, 2))
        result = np.asarray(shape) + sizes.sum(1)
        border = self._writer.constant(sizes)
        return self._writer.operator(
            "PAD", [x, border], self._like(x, result), "PadOptions"
        )

    def pool(self, x):
        shape = self._writer.shape(x)
        if len(shape) != 4:
            return None
        kernel = self._pick(((2, 2), (3, 3), (1, 2)))
        window = self._window(shape, kernel, dilations=(1,))
        if window is None:
            return None
        size, values = window
        return self._writer.operator(
            self._pick(("MAX_POOL_2D", "MAX_POOL_2D", "AVERAGE_POOL_2D")),
            [x],
            self._like(x, (shape[0], *size, shape[3])),
            "Pool2DOptions",
            filterHeight=kernel[0],
            filterWidth=kernel[1],
            **values,
        )

    def reshape(self, x):
        shape = self._writer.shape(x)
        results = [(shape[0], int(np.prod(shape[1:])))]
        results.append((int(np.prod(shape[:-1])), shape[-1]))
        if len(shape) == 2:
            results.append((shape[0], 1, 1, shape[1]))
        result = self._pick(results)
        if result[-1] > 4096:
            return None
        new = self._writer.constant(result)
        return self._writer.operator(
            "RESHAPE",
            [x, new],
            self._like(x, result),
            "ReshapeOptions",
            newShape=result,
        )

    def softmax(self, x):
        output = self._writer.tensor(self._writer.shape(x), 1 / 256, -128)
        return self._writer.operator("SOFTMAX", [x], output, "SoftmaxOptions", beta=1.0)

    def logistic(self, x):
        output = self._writer.tensor(self._writer.shape(x), 1 / 256, -128)
        return self._writer.operator("LOGISTIC", [x], output)

    def matmul(self, x):
        """With itself, transposed, or with another tensor of the same columns.

        Where the right zero point is 0, XNNPACK takes it.
        """
        shape = self._writer.shape(x)
        alike = [
            t
            for t in self._tensors
            if self._writer.shape(t)[:-2] == shape[:-2]
            and self._writer.shape(t)[-1] == shape[-1]
        ]
        symmetric = [t for t in alike if self._writer.zero_point(t) == 0]
        other = self._pick(symmetric if symmetric and self._chance(0.5) else alike)
        result = (*shape[:-1], self._writer.shape(other)[-2])
        scale = self._writer.scale(x) * self._writer.scale(other)
        scale *= _DEVIATION * np.sqrt(shape[-1])
        return self._writer.operator(
            "BATCH_MATMUL",
            [x, other],
            self._quantized(result, scale),
            "BatchMatMulOptions",
            adjY=True,
        )

    def concatenation(self, x):
        shape = self._writer.shape(x)
        sides = [x, self._pick(self._alike(x))]
        result = (*shape[:-1], 2 * shape[-1])
        return self._writer.operator(
            "CONCATENATION",
            sides,
            self._like(x, result),
            "ConcatenationOptions",
            axis=len(shape) - 1,
        )

    def arithmetic(self, x):
        """Through float, with a few steps on rows, which others may read too."""
        y = self._writer.dequantize(x)
        self._floats.append(y)
        for _ in range(self._rng.integers(0, 6)):
            y = self._pick(_FLOAT_KINDS)(self, y)
            if self._writer.shape(y) == self._writer.shape(x):
                self._floats.append(y)
        scale = 1.5 * self._writer.scale(x)
        return self._writer.quantize(y, scale, int(self._pick((-128, -5, 0, 3, 127))))

    def _row(self, x):
        return self._writer.row(self._rng.normal(size=self._writer.shape(x)[-1]))

    def scaled(self, y):
        product = self._writer.multiply(y, self._row(y))
        return self._writer.add(product, self._row(y)) if self._chance(0.5) else product

    def residual(self, y):
        """Either with what was made before, or with a new input."""
        shape = self._writer.shape(y)
        alike = [t for t in self._floats if self._writer.shape(t) == shape]
        if not alike or self._chance(0.1):
            alike = [self._writer.floats(shape if self._chance(0.5) else shape[1:])]
            self._inputs.append(alike[0])
        sides = [y, self._pick(alike)]
        return self._writer.binary(self._pick(list(BINARY)), *sides)

    def normalized(self, y):
        gamma, beta = self._rng.normal(size=(2, self._writer.shape(y)[-1]))
        if self._chance(0.3):
            return self._writer.rms_norm(y, gamma)
        return self._writer.layer_norm(y, gamma, beta if self._chance(0.5) else None)

    def centred(self, y):
        return self._writer.subtract(y, self._writer.mean(y))

    def rooted(self, y):
        root = self._writer.reciprocal_root(y)
        return self._writer.negate(root) if self._chance(0.5) else root

    def choice(self, x):
        """By a mask of its own values, or by one that is repeated."""
        shape = self._writer.shape(x)
        if len(shape) == 2 or self._chance(0.6):
            mask = self._writer.mask(shape)
            self._writer.operator("GREATER", [x, self._pick(self._alike(x))], mask)
        else:
            mask = self._writer.mask(
                [size if self._chance(0.5) else 1 for size in shape[1:]]
            )
            self._inputs.append(mask)
        return self._writer.select(mask, x, self._rng.integers(-128, 128))

    def _kind(self, x):
        writer = self._writer
        return writer.shape(x), writer.scale(x), writer.zero_point(x)

    def _alike(self, x):
        return [t for t in self._tensors if self._kind(t) == self._kind(x)]

    def gelu(self, x):
        return self._writer.gelu(
            x,
            self._writer.scale(x),
            int(self._pick((-128, -100, 0))),
            approximate=self._chance(0.5),
        )


_FLOAT_KINDS = (
    RandomGraph.scaled,
    RandomGraph.residual,
    RandomGraph.residual,
    RandomGraph.normalized,
    RandomGraph.centred,
    RandomGraph.rooted,
)
_KINDS = (
    *(RandomGraph.fully_connected,) * 5,
    *(RandomGraph.convolution,) * 8,
    *(RandomGraph.addition,) * 5,
    *(RandomGraph.pool,) * 2,
    *(RandomGraph.border,) * 2,
    *(RandomGraph.matmul,) * 2,
    RandomGraph.softmax,
    RandomGraph.depthwise,
    RandomGraph.product,
    RandomGraph.reshape,
    RandomGraph.logistic,
    RandomGraph.concatenation,
    *(RandomGraph.arithmetic,) * 5,
    *(RandomGraph.choice,) * 2,
    *(RandomGraph.gelu,) * 2,
)


def random_graph(seed):
    """The bytes of a valid file."""
    return RandomGraph(seed).content
