"""Blocks: numbers that lie side by side and share a scale."""

from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops

# Of float32, where the exponent lies.
_EXPONENT = 0x7F800000


def power_below(values: Any) -> Any:
    """Returns the greatest powers of two that are not above some numbers.

    Args:
        values: float32 tensor, not negative. Exact, and 0 for what is below 2^-126.
    """
    exponents = ops.bitwise_and(ops.view(values, "int32"), _EXPONENT)
    return ops.view(exponents, "float32")


def by_blocks(values: Any, axis: int, size: int, change: Callable[[Any], Any]) -> Any:
    """Returns what becomes of a tensor whose blocks are changed, each by itself.

    Args:
        values: float tensor.
        axis: blocks run along it; its length is known.
        size: of a block. The last one is shorter if the axis does not divide.
        change: takes and returns a float32 tensor `(..., size)` of blocks, the last one
            filled up with zeros; other axes may be anything.

    Returns:
        Tensor of the shape and dtype of `values`.
    """
    last = ops.moveaxis(ops.cast(values, "float32"), axis, -1)
    length, shape = last.shape[-1], ops.shape(last)
    blocks = -(-length // size)
    rows = ops.reshape(last, (-1, length))
    padded = ops.pad(rows, ((0, 0), (0, blocks * size - length)))
    changed = change(ops.reshape(padded, (-1, blocks, size)))
    rows = ops.reshape(changed, (-1, blocks * size))[:, :length]
    return ops.cast(ops.moveaxis(ops.reshape(rows, shape), -1, axis), values.dtype)


def summed_over(canonical: Any) -> int:
    """Returns the axis that blocks of weights run along: what products add up over.

    That is the inputs; the taps, where each output has one input, as in a depthwise
    convolution.

    Args:
        canonical: weights `(taps, inputs, outputs)`.
    """
    return 1 if canonical.shape[1] > 1 else 0


def as_array(tensor: Any) -> np.ndarray:
    """Returns what is in a tensor that is not traced."""
    return np.asarray(ops.convert_to_numpy(tensor))
