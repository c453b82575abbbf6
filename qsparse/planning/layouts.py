"""Layouts: where outputs, inputs and taps lie in a layer's kernel.

Everything that reasons about a kernel (patterns, quantizers, export) does it in
the canonical form `(taps, inputs, outputs)`: `inputs` is the reduction axis and
`taps` are the positions of a convolution window.

| layer | kernel in Keras | canonical | in a LiteRT file |
|---|---|---|---|
| Dense | (in, out) | (1, in, out) | (out, in) |
| EinsumDense | by equation | (1, contracted, rest) | (out, in) |
| Conv1D | (k, in, out) | (k, in, out) | (out, 1, k, in) |
| Conv2D | (kh, kw, in, out) | (kh*kw, in, out) | (out, kh, kw, in) |
| DepthwiseConv2D | (kh, kw, in, mult) | (kh*kw, 1, in*mult) | (1, kh, kw, in*mult) |
"""

import math
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops


@dataclass(frozen=True)
class KernelLayout:
    """How a kernel of `shape` maps to canonical form and to LiteRT.

    Attributes:
        shape: the kernel's shape in Keras.
        order: its axes in the order taps, inputs, outputs.
        taps, inputs, outputs: the canonical shape.
        output_axes: how many axes at the end of `order` are outputs.
        litert_shape: shape of the weight tensor in a LiteRT file.
        litert_order: canonical axes in the order of the LiteRT tensor.
    """

    shape: tuple[int, ...]
    order: tuple[int, ...]
    taps: int
    inputs: int
    outputs: int
    litert_shape: tuple[int, ...]
    output_axes: int = 1
    litert_order: tuple[int, int, int] = (2, 0, 1)

    @property
    def canonical_shape(self) -> tuple[int, int, int]:
        """`(taps, inputs, outputs)`."""
        return self.taps, self.inputs, self.outputs

    @property
    def shape_of_one_output(self) -> tuple[int, ...]:
        """The kernel's shape, with every output axis of length 1."""
        outputs = self.order[-self.output_axes :]
        return tuple(1 if a in outputs else n for a, n in enumerate(self.shape))

    def canonical(self, kernel: np.ndarray) -> np.ndarray:
        """Returns the kernel as `(taps, inputs, outputs)`."""
        return kernel.transpose(self.order).reshape(self.canonical_shape)

    def kernel(self, canonical: np.ndarray) -> np.ndarray:
        """Returns a canonical array in the kernel's own shape."""
        ordered = canonical.reshape([self.shape[axis] for axis in self.order])
        return ordered.transpose(np.argsort(self.order))

    def canonical_tensor(self, kernel: Any) -> Any:
        """Returns what `canonical` does, of a tensor that may be traced."""
        return ops.reshape(self._transposed(kernel, self.order), self.canonical_shape)

    def kernel_tensor(self, canonical: Any) -> Any:
        """Returns what `kernel` does, of a tensor that may be traced."""
        ordered = ops.reshape(canonical, [self.shape[axis] for axis in self.order])
        return self._transposed(ordered, tuple(np.argsort(self.order).tolist()))

    @staticmethod
    def _transposed(tensor: Any, order: tuple[int, ...]) -> Any:
        same = order == tuple(range(len(order)))
        return tensor if same else ops.transpose(tensor, order)

    def litert(self, canonical: np.ndarray) -> np.ndarray:
        """Returns a canonical array as it lies in a LiteRT file."""
        return canonical.transpose(self.litert_order).reshape(self.litert_shape)


def weighted_sums(layer: keras.layers.Layer, inputs: Any, kernel: Any) -> Any:
    """Returns what a layer computes before bias and activation, with another kernel.

    Args:
        layer: one of the classes in the table, but DepthwiseConv2D.
        inputs: float tensor, as the layer takes them.
        kernel: of the dtype of `inputs`, of as many axes as the layer's own and equal
            to it along taps and inputs.
    """
    if isinstance(layer, keras.layers.EinsumDense):
        return ops.einsum(layer.equation, inputs, kernel)
    if isinstance(layer, keras.layers.Dense):
        return ops.matmul(inputs, kernel)
    padding = layer.padding
    if padding == "causal":
        reach = layer.dilation_rate[0] * (layer.kernel_size[0] - 1)
        steps = 1 if layer.data_format == "channels_last" else 2
        inputs = ops.pad(inputs, [(reach * (axis == steps), 0) for axis in range(3)])
        padding = "valid"
    return ops.conv(
        inputs,
        kernel,
        strides=list(layer.strides),
        padding=padding,
        dilation_rate=layer.dilation_rate,
        data_format=layer.data_format,
    )


def _einsum_layout(
    layer: keras.layers.EinsumDense, shape: tuple[int, ...]
) -> KernelLayout | None:
    left, output = layer.equation.replace(" ", "").replace("...", "").split("->")
    inputs, kernel = left.split(",")
    contracted = [i for i, c in enumerate(kernel) if c in inputs and c not in output]
    free = [i for i, c in enumerate(kernel) if c in output and c not in inputs]
    if len(contracted) + len(free) != len(kernel) or not contracted or not free:
        return None
    size_in = math.prod(shape[i] for i in contracted)
    size_out = math.prod(shape[i] for i in free)
    order = tuple(contracted + free)
    litert = (size_out, size_in)
    return KernelLayout(shape, order, 1, size_in, size_out, litert, len(free))


def kernel_layout(layer: keras.layers.Layer) -> KernelLayout | None:
    """Returns the layout of a built layer's kernel, or None if it has no known one.

    An EinsumDense whose kernel shares an axis with both its input and its
    output (a batch of kernels) has none.
    """
    if isinstance(layer, keras.layers.EinsumDense):
        return _einsum_layout(layer, tuple(layer._kernel.shape))
    if isinstance(layer, keras.layers.Dense):
        inputs, outputs = shape = tuple(layer._kernel.shape)
        return KernelLayout(shape, (0, 1), 1, inputs, outputs, (outputs, inputs))
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        kh, kw, inputs, multiplier = shape = tuple(layer.kernel.shape)
        outputs = inputs * multiplier
        litert = (1, kh, kw, outputs)
        return KernelLayout(
            shape, (0, 1, 2, 3), kh * kw, 1, outputs, litert, 2, (1, 0, 2)
        )
    if isinstance(layer, keras.layers.Conv1D | keras.layers.Conv2D):
        *window, inputs, outputs = shape = tuple(layer._kernel.shape)
        height, width = ([1] + window)[-2:]
        return KernelLayout(
            shape,
            tuple(range(len(shape))),
            height * width,
            inputs,
            outputs,
            (outputs, height, width, inputs),
        )
    return None
