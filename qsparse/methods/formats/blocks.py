"""Blocks: numbers that lie side by side and share a scale."""

from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops

# Of float32, where the exponent lies.
_EXPONENT = 0x7F800000
# How numbers that lie between two of a format are rounded.
ROUNDINGS = ("nearest", "stochastic")
# Constants of the finalizer of MurmurHash3, and a step from place to place.
_FIRST, _SECOND, _STEP = 0x85EBCA6B, 0xC2B2AE35, 0x9E3779B9


def power_below(values: Any) -> Any:
    """Returns the greatest powers of two that are not above some numbers.

    Args:
        values: float32 tensor, not negative. Exact, and 0 for what is below 2^-126.
    """
    exponents = ops.bitwise_and(ops.view(values, "int32"), _EXPONENT)
    return ops.view(exponents, "float32")


def noise(values: Any, seed: int) -> Any:
    """Returns numbers in [0, 1) that look random, one for each value.

    A hash of the value's bits, its place and the seed: the same tensor is rounded the
    same way everywhere and whenever a training is resumed, and another way as soon as
    it changes. Equal numbers at other places are rounded by themselves.

    Args:
        values: float32 `(rows, blocks, block)`.
        seed: in [0, 2^32).

    Returns:
        float32 of that shape, multiples of 2^-24.
    """
    blocks, block = values.shape[-2:]
    places = (np.arange(blocks * block, dtype=np.uint64) + 1) * _STEP + seed
    places = (places % 2**32).astype(np.uint32).reshape(blocks, block)
    rows = ops.cast(ops.arange(ops.shape(values)[0]), "uint32")
    # Hashed by itself, or rows and places would make up for each other.
    rows = _mixed(ops.reshape(rows + np.uint32(1), (-1, 1, 1)))
    found = _mixed(ops.bitwise_xor(ops.view(values, "uint32"), rows + places))
    top = ops.right_shift(found, np.uint32(8))
    return ops.cast(top, "float32") * np.float32(2.0**-24)


def _mixed(bits: Any) -> Any:
    """Returns the finalizer of MurmurHash3 of uint32 numbers."""
    found = _shifted(bits, 16) * np.uint32(_FIRST)
    found = _shifted(found, 13) * np.uint32(_SECOND)
    return _shifted(found, 16)


def _shifted(bits: Any, by: int) -> Any:
    return ops.bitwise_xor(bits, ops.right_shift(bits, np.uint32(by)))


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
