"""Weights of four bits: half the size of int8, and the zeros stay where they are.

LiteRT multiplies them with float activations, which it rounds to int8 as they come.
"""

import numpy as np

from qsparse.tflite_export.files.model_file import ModelFile
from qsparse.tflite_export.files.model_parts import Tensor

_LARGEST = 7  # symmetric, as XNNPACK needs
# Scales tried per channel, as shares of max|w| / 7: clipping a few large weights
# leaves finer steps for all others.
_SHARES = np.linspace(0.5, 1.0, 26)
_OPS = ("FULLY_CONNECTED", "CONV_2D")


def to_int4(file: ModelFile) -> dict[str, Tensor]:
    """Rounds the weights of a dynamic-range file to 15 levels per output channel.

    The scale of a channel is the one, of 26, with the least squared error.
    Depthwise convolutions keep their int8 weights.

    Args:
        file: holds int8 weights and float activations; edited in place.

    Returns:
        Name -> tensor of the weights that were rounded.
    """
    done: dict[str, Tensor] = {}
    for op, weights in file.layers():
        if op.name not in _OPS or weights.dtype != np.int8 or weights.name in done:
            continue
        rows = weights.data.reshape(weights.shape[0], -1).astype(np.float32)
        values, factor = _round(rows)
        file.set_int4(weights, values.reshape(weights.shape), weights.scales * factor)
        done[weights.name] = weights
    return done


def _round(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns integers in [-7, 7] and the step each row of them has."""
    largest = np.maximum(np.abs(rows).max(axis=1), 1)
    best = np.full(len(rows), np.inf, np.float32)
    step = largest / _LARGEST
    for share in _SHARES:
        tried = share * largest / _LARGEST
        error = np.square(_levels(rows, tried) * tried[:, None] - rows).sum(axis=1)
        better = error < best
        best[better], step[better] = error[better], tried[better]
    return _levels(rows, step).astype(np.int8), step


def _levels(rows: np.ndarray, step: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(rows / step[:, None]), -_LARGEST, _LARGEST)
