"""Wanda: weights and activations."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from qsparse.methods.criteria.base import CRITERIA


@CRITERIA.register("wanda")
@dataclass(frozen=True)
class Wanda:
    """Scores a weight by its size times the norm of the input it meets.

    `|w| * ||x||` (Sun et al., "A simple and effective pruning approach for large
    language models", 2023; the formula was taken from secondary sources), with the norm
    over all rows of `score_data`; labels are not looked at. The paper compares the
    weights of one output with each other only. Single weights are scored by their rank
    within their output, so that every output loses as many, within one; tiles of
    several weights are compared over the whole layer by the sum of their scores.
    """

    needs: ClassVar[tuple[str, ...]] = ("activations", "tile")

    def score(
        self, weights: np.ndarray, activations: np.ndarray, tile: tuple[int, int]
    ) -> np.ndarray:
        """Returns `|weights| * activations`, or its rank within the output.

        Args:
            weights: float32 `(taps, inputs, outputs)`.
            activations: float32 `(taps, inputs, 1)`: the root of the sum of squares of
                what the weights at a tap and an input are multiplied by.
            tile: `(outputs, inputs)` that are pruned together.
        """
        scores = np.abs(weights) * activations
        return _ranks(scores) if tile == (1, 1) else scores


def _ranks(scores: np.ndarray) -> np.ndarray:
    """Returns how many weights of its output come before each: 0 for the least.

    Of a tie the higher index comes first, as patterns drop it first.
    """
    columns = scores.reshape(-1, scores.shape[2])[::-1]
    order = np.argsort(columns, axis=0, kind="stable")
    ranks = np.empty(columns.shape, np.float64)
    steps = np.arange(len(columns), dtype=np.float64)[:, np.newaxis]
    np.put_along_axis(ranks, order, np.broadcast_to(steps, ranks.shape), axis=0)
    return ranks[::-1].reshape(scores.shape)
