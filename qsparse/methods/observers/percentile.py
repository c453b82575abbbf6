"""Percentile: the range that all but the outermost values lie in."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import ops

from qsparse.methods.observers.base import OBSERVERS, sampled
from qsparse.methods.observers.moving_average import MovingAverage
from qsparse.methods.validate import real


@OBSERVERS.register("percentile")
@dataclass(frozen=True)
class Percentile(MovingAverage):
    """A moving average of the percentiles of each step's values, at both ends.

    What lies outside is clipped (Wu et al., "Integer quantization for deep learning
    inference", 2020). It is found among some 8,000 values of a tensor, evenly apart.

    Args:
        momentum: weight of the range so far, in [0, 1).
        percent: above 50 and at most 100. 99.9 clips a thousandth at the upper end and
            as much at the lower.

    Raises:
        ValueError: if a value is outside.
    """

    percent: float = 99.9

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "percent", real("percent", self.percent))
        if not 50.0 < self.percent <= 100.0:
            raise ValueError(
                "`percent` must be above 50 and at most 100. "
                f"Received: percent={self.percent}"
            )

    def sizes(self, values: Any) -> Any:
        """Returns `(-low, high)` of the percentiles of float32 values."""
        share = self.percent / 100.0
        ends = ops.quantile(sampled(values), np.array([1.0 - share, share], np.float32))
        return ends * np.array([-1.0, 1.0], np.float32)
