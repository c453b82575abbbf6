"""Criteria: how much a weight matters. The lowest scores are pruned first.

A criterion sees the weights. One that says `needs_gradients` sees the gradients too:
its `score` takes a second argument.
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol

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


@CRITERIA.register("magnitude")
@dataclass(frozen=True)
class Magnitude:
    """Scores a weight by its absolute value (Han et al., 2015)."""

    def score(self, weights: np.ndarray) -> np.ndarray:
        """Returns `|weights|`."""
        return np.abs(weights)


@CRITERIA.register("saliency")
@dataclass(frozen=True)
class Saliency:
    """Scores a weight by how much the loss would change without it, to first order.

    `|w * g|` (Molchanov et al., "Importance estimation for neural network pruning",
    2019), with `g` summed over the steps since the last selection. There has to be a
    step before the first selection at a sparsity above 0: with a schedule that starts
    at once, give `prune_from`. `Masked` hides the gradients of pruned weights, which
    then never come back.
    """

    needs_gradients: ClassVar[bool] = True

    def score(self, weights: np.ndarray, gradients: np.ndarray) -> np.ndarray:
        """Returns `|weights * gradients|`.

        Args:
            weights: float32 `(taps, inputs, outputs)`.
            gradients: of the same shape: the sum of the loss's gradients with respect
                to the dense weights, as the optimizer got them, over the steps since
                the last selection.
        """
        return np.abs(weights * gradients)
