"""What a criterion is."""

from typing import Any, Protocol

import numpy as np

from qsparse.methods.criteria.statistics import STATISTICS
from qsparse.methods.registry import Registry


class Criterion(Protocol):
    """What the compressor asks of a criterion.

    Two attributes may stand beside `score`, in the class or as properties:

    needs: names of `STATISTICS`, a tuple. `score` gets each as a keyword.
    once: True if the first selection of masks ranks the weights for good; later ones
        prune more by the same scores, and a file keeps them.
    """

    def score(self, weights: np.ndarray, **statistics: Any) -> np.ndarray:
        """Returns the scores of one kernel.

        Args:
            weights: float32 `(taps, inputs, outputs)`, finite: the dense weights, or
                the quantized ones where the order is `"Q->S"`.
            **statistics: what the criterion `needs`, by name.

        Returns:
            Finite float array of the same shape; the lowest are pruned first, and they
            may be negative. A tile of several weights has the sum of their scores.
        """


CRITERIA = Registry("criterion", ("score",))


def needs_of(criterion: Any) -> tuple[str, ...]:
    """Returns the names of the statistics that a criterion's `score` takes.

    Raises:
        ValueError: if one of them is no statistic.
    """
    needs = tuple(getattr(criterion, "needs", ()))
    for name in needs:
        if name not in STATISTICS:
            raise ValueError(
                f"{criterion} needs {name!r}, which is no statistic. `needs` is a "
                f"tuple of names out of {sorted(STATISTICS)}."
            )
    return needs


def ranks_once(criterion: Any) -> bool:
    """Returns whether a criterion's first scores hold for the whole training."""
    return bool(getattr(criterion, "once", False))
