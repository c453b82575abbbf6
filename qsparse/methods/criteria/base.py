"""What a criterion is."""

from typing import Protocol

import numpy as np

from qsparse.methods.registry import Registry


class Criterion(Protocol):
    """What the compressor asks of a criterion."""

    def score(self, weights: np.ndarray) -> np.ndarray:
        """Returns the scores of one kernel.

        Args:
            weights: float32 `(taps, inputs, outputs)`, finite: the dense weights, or
                the quantized ones where the order is `"Q->S"`.

        Returns:
            Finite float array of the same shape, not negative. A tile of several
            weights has the sum of their scores.
        """


CRITERIA = Registry("criterion", ("score",))


def needs_gradients(criterion: object) -> bool:
    """Returns whether a criterion's `score` takes gradients beside the weights."""
    return bool(getattr(criterion, "needs_gradients", False))
