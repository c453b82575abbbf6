"""SNIP: what the loss hangs on before training, once and for all."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from qsparse.methods.criteria.base import CRITERIA


@CRITERIA.register("snip")
@dataclass(frozen=True)
class SNIP:
    """Scores a weight by its connection sensitivity, at the start and never again.

    `|w * g|` (Lee et al., "SNIP: single-shot network pruning based on connection
    sensitivity", 2019), at the first selection of masks; the paper divides by the sum,
    which changes no rank. Give `score_data` to have it before the first step; without,
    `g` is the sum over the steps before `prune_from`, of which there have to be some.
    A schedule that grows prunes more by the same ranking.
    """

    needs: ClassVar[tuple[str, ...]] = ("gradients",)
    once: ClassVar[bool] = True

    def score(self, weights: np.ndarray, gradients: np.ndarray) -> np.ndarray:
        """Returns `|weights * gradients|`.

        Args:
            weights: float32 `(taps, inputs, outputs)`.
            gradients: of the same shape: the sum of the loss's gradients.
        """
        return np.abs(weights * gradients)
