"""Least error: the range that rounds with the least squared error."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import ops

from qsparse.methods.observers.base import OBSERVERS, least_and_greatest, sampled
from qsparse.methods.observers.moving_average import MovingAverage

# How far a range is shrunk in search of the best one.
_SHARES = np.geomspace(1 / 16, 1.0, 24, dtype=np.float32)
_STEPS = 255.0


@OBSERVERS.register("least-error")
@dataclass(frozen=True)
class LeastError(MovingAverage):
    """A moving average of the ranges that round each step's values best in int8.

    Of 24 shares of the range from least to greatest value, from a sixteenth to all of
    it, the one with the least mean squared error, clipping included (the "MSE" of
    Nagel et al., "A white paper on neural network quantization", 2021). The error is
    that of some 8,000 values of a tensor, evenly apart. In 256 steps it clips values
    only that are rare and far out.

    Args:
        momentum: weight of the range so far, in [0, 1).

    Raises:
        ValueError: if `momentum` is outside.
    """

    def sizes(self, values: Any) -> Any:
        """Returns `(-low, high)` of the best range of float32 values."""
        flat = sampled(values)
        widest = ops.maximum(least_and_greatest(values), 0.0)
        shares = _SHARES[:, np.newaxis]
        low, high = -widest[0] * shares, widest[1] * shares
        step = (high - low) / _STEPS
        step = ops.where(step > 0, step, ops.ones_like(step))
        clipped = ops.minimum(ops.maximum(flat[None], low), high)
        rounded = ops.round(clipped / step) * step
        errors = ops.mean(ops.square(rounded - flat[None]), axis=1)
        return widest * ops.take(ops.convert_to_tensor(_SHARES), ops.argmin(errors))
