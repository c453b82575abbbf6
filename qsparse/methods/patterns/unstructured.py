"""Unstructured: any weight may be zero."""

from dataclasses import dataclass

import numpy as np

from qsparse.methods.patterns.base import PATTERNS, check_sparsity
from qsparse.methods.patterns.capacity import Capacity, tile_capacity
from qsparse.methods.patterns.tiles import kept_tiles, tile_misfit


@PATTERNS.register("unstructured")
@dataclass(frozen=True)
class Unstructured:
    """Any weight may be zero.

    The kernels gain no speed from it; use it as the accuracy bound for the other
    patterns.
    """

    @property
    def tile(self) -> tuple[int, int]:
        """`(outputs, inputs)` of what is pruned together: one weight."""
        return 1, 1

    def mask(self, scores: np.ndarray, sparsity: float | None) -> np.ndarray:
        """Zeros exactly `floor(sparsity * size + 0.5)` lowest scores.

        Every output keeps its best weight, so never more than `size - outputs`.
        """
        return kept_tiles(scores, check_sparsity(sparsity, "Unstructured()"))

    def misfit(self, shape: tuple[int, int, int]) -> str | None:
        """Fits every shape in which an output has more than one weight."""
        return tile_misfit(shape, (1, 1))

    def final_sparsity(self, sparsity: float | None) -> float:
        """Returns the requested sparsity."""
        return check_sparsity(sparsity, "Unstructured()")

    def capacity(self, shape: tuple[int, int, int]) -> Capacity:
        """A weight is a unit; every output keeps its best one."""
        return tile_capacity(shape, (1, 1))

    def unit_scores(self, scores: np.ndarray) -> np.ndarray:
        """Returns the scores of the weights, `(taps * inputs, outputs)`."""
        return scores.reshape(-1, scores.shape[2])

    def __str__(self) -> str:
        return "unstructured"
