"""Criteria: how much a weight matters. The lowest scores are pruned first."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from qsparse.registry import Registry


class Criterion(Protocol):
    """What the compressor asks of a criterion."""

    def score(self, weights: np.ndarray) -> np.ndarray:
        """Return the scores of one kernel.

        Args:
            weights: float32 `(taps, inputs, outputs)`, finite: the dense weights, or
                the quantized ones where the order is `"Q->S"`.

        Returns:
            Finite float array of the same shape, not negative. A tile of several
            weights has the sum of their scores.
        """


CRITERIA = Registry("criterion", ("score",))


@CRITERIA.register("magnitude")
@dataclass(frozen=True)
class Magnitude:
    """Scores a weight by its absolute value (Han et al., 2015)."""

    def score(self, weights: np.ndarray) -> np.ndarray:
        """Return `|weights|`."""
        return np.abs(weights)
