"""Int8 quantization as LiteRT does it, as fake quantization and as integers.

Weights: symmetric, one scale per output channel, narrow range [-127, 127],
`scale = max|w| / 127` in float32. This is the grid that the LiteRT converter
re-derives from the weights, so what was trained is what the file holds.

Activations: asymmetric, one scale per tensor, 256 levels; the range is nudged so
that zero is exact.
"""

from typing import Any

import keras
import numpy as np
from keras import ops

INT8_MAX = 127


def round_weights(weights: Any, reduced_axes: tuple[int, ...]) -> Any:
    """Round weights to their int8 grid.

    Args:
        weights: float32 tensor.
        reduced_axes: axes over which one output channel's scale is shared.

    Returns:
        Tensor of the shape of `weights`. Zeros stay zero, and so does an
        all-zero channel.
    """
    largest = ops.max(ops.abs(weights), axis=reduced_axes, keepdims=True)
    scale = largest / INT8_MAX
    scale = ops.where(scale > 0, scale, ops.ones_like(scale))
    return ops.round(weights / scale) * scale


def integer_weights(canonical: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what `round_weights` computes as integers and scales.

    Args:
        canonical: float32 weights `(taps, inputs, outputs)`.

    Returns:
        `(q, scale)`: int8 in [-127, 127] of the same shape, and float32
        `(outputs,)`; an all-zero channel has scale 1.
    """
    largest = np.abs(canonical).max(axis=(0, 1))
    scale = largest / np.float32(INT8_MAX)
    scale = np.where(scale > 0, scale, np.float32(1))
    return np.round(canonical / scale).astype(np.int8), scale


def fake_quantize_activations(inputs: Any, minimum: Any, maximum: Any) -> Any:
    """Round a tensor to 256 levels between `minimum` and `maximum`.

    Args:
        inputs: float tensor of any shape and dtype.
        minimum: scalar, not above 0.
        maximum: scalar, not below 0.

    Returns:
        Tensor of the shape and dtype of `inputs`. Values outside the range are
        clipped and receive no gradient.
    """
    quantized = keras.quantizers.fake_quant_with_min_max_vars(
        ops.cast(inputs, "float32"), minimum, maximum
    )
    return ops.cast(quantized, inputs.dtype)


def fake_quantize_if(on: Any, inputs: Any, limits: Any) -> Any:
    """Do what `fake_quantize_activations` does, or nothing.

    Args:
        on: scalar, bool: whether to round.
        inputs: float tensor of any shape and dtype.
        limits: float32 `(2,)`: minimum, maximum.
    """
    return ops.cond(
        on,
        lambda: fake_quantize_activations(inputs, limits[0], limits[1]),
        lambda: inputs,
    )
