"""LAMP: one threshold on scores that count what else a layer has."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from qsparse.methods.allocations.base import ALLOCATIONS, Kernel
from qsparse.methods.allocations.threshold import by_one_threshold


@ALLOCATIONS.register("lamp")
@dataclass(frozen=True)
class LAMP:
    """Layer-adaptive magnitude: one threshold on scores relative to their layer.

    Lee et al., "Layer-adaptive sparsity for the magnitude-based pruning" (2021):
    `u = w^2 / sum of the w'^2 that are not smaller`. In place of `|w|` stands what the
    criterion scores, and of a tile the sum of its scores. Layers share the sparsity
    out anew at each selection of masks. The formula was taken from
    secondary sources.
    """

    dynamic: ClassVar[bool] = True
    holds_total: ClassVar[bool] = True

    def allocate(self, kernels: Sequence[Kernel], sparsity: float) -> list[float]:
        """Returns sparsities that make `sparsity` in total; see `Allocation`."""
        return by_one_threshold(kernels, sparsity, _adapted)


def _adapted(scores: np.ndarray) -> np.ndarray:
    """Returns the layer-adaptive scores of one kernel's units, of their shape."""
    squares = np.square(scores, dtype=np.float64).reshape(-1)
    ascending = np.sort(squares)
    # Sums from each place to the end: of the first of a tie, all that are not smaller.
    sums = np.cumsum(ascending[::-1])[::-1]
    shares = sums[np.searchsorted(ascending, squares)]
    adapted = np.divide(squares, shares, out=np.zeros_like(squares), where=shares > 0)
    return adapted.reshape(scores.shape)
