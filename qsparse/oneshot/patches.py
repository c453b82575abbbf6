"""Patches: what flows into a layer, as the matrix that its kernel multiplies."""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from qsparse.planning.layouts import KernelLayout

# Bytes of a piece of that matrix; a piece is at least one sample.
_PIECE = 1 << 26


def rows_of_inputs(
    layer: keras.layers.Layer, layout: KernelLayout, inputs: np.ndarray
) -> Iterator[np.ndarray]:
    """Yields X^T piece by piece, float64 `(rows, columns)`.

    A row is what one output value is a sum over; columns are the kernel's taps and
    inputs, in canonical order.

    Args:
        layer: a Dense, EinsumDense, Conv1D or Conv2D without groups.
        layout: of its kernel.
        inputs: what it was called with.
    """
    if isinstance(layer, keras.layers.EinsumDense):
        inputs = _contracted_last(layer, layout, inputs)
    if isinstance(layer, keras.layers.Conv1D | keras.layers.Conv2D):
        yield from _windows(layer, inputs)
        return
    flat = inputs.reshape(-1, layout.inputs)
    size = max(_PIECE // (8 * layout.inputs), 1)
    for start in range(0, len(flat), size):
        yield flat[start : start + size].astype(np.float64)


def _contracted_last(
    layer: keras.layers.EinsumDense, layout: KernelLayout, inputs: np.ndarray
) -> np.ndarray:
    """Returns the inputs with the axes that the kernel contracts at their end."""
    left, output = layer.equation.replace(" ", "").split("->")
    labels, kernel = left.split(",")
    before, _, after = labels.partition("...")
    places = {label: axis for axis, label in enumerate(before)}
    places |= {label: axis - len(after) for axis, label in enumerate(after)}
    # Axes that only the inputs have are summed over, before or after the product.
    gone = [c for c in before + after if c not in output and c not in kernel]
    inputs = inputs.sum(axis=tuple(places[c] for c in gone), keepdims=True)
    contracted = [kernel[axis] for axis in layout.order[: -layout.output_axes]]
    last = range(-len(contracted), 0)
    return np.moveaxis(inputs, [places[label] for label in contracted], last)


def _windows(layer: Any, inputs: np.ndarray) -> Iterator[np.ndarray]:
    """Yields the windows of a convolution, one row each."""
    if layer.data_format == "channels_first":
        inputs = np.moveaxis(inputs, 1, -1)
    window, strides, dilation = layer.kernel_size, layer.strides, layer.dilation_rate
    sizes = inputs.shape[1:-1]
    border = [
        _border(layer.padding, *one)
        for one in zip(sizes, window, strides, dilation, strict=True)
    ]
    inputs = np.pad(inputs, [(0, 0), *border, (0, 0)])
    spans = [(k - 1) * d + 1 for k, d in zip(window, dilation, strict=True)]
    axes = tuple(range(1, 1 + len(window)))
    # (samples, positions..., channels, window...)
    views = np.lib.stride_tricks.sliding_window_view(inputs, spans, axes)
    positions = tuple(slice(None, None, stride) for stride in strides)
    taps = tuple(slice(None, None, step) for step in dilation)
    views = views[(slice(None), *positions, slice(None), *taps)]
    views = np.moveaxis(views, 1 + len(window), -1)
    columns = int(np.prod(views.shape[1 + len(window) :]))
    each = 8 * int(np.prod(views.shape[1:]))
    size = max(_PIECE // max(each, 1), 1)
    for start in range(0, len(views), size):
        yield views[start : start + size].reshape(-1, columns).astype(np.float64)


def _border(
    padding: str, size: int, window: int, stride: int, dilation: int
) -> tuple[int, int]:
    """Returns how many zeros stand before and after an axis."""
    span = (window - 1) * dilation + 1
    if padding == "causal":
        return span - 1, 0
    if padding == "same":
        total = max((-(-size // stride) - 1) * stride + span - size, 0)
        return total // 2, total - total // 2
    return 0, 0
