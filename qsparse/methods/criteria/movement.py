"""Movement: weights that training moves towards zero matter least."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from qsparse.methods.criteria.base import CRITERIA


@CRITERIA.register("movement")
@dataclass(frozen=True)
class Movement:
    """Scores a weight by how far training moves it away from zero.

    `-sum of w * g` over all steps since training began (Sanh et al., "Movement pruning:
    adaptive sparsity by fine-tuning", 2020; the formula was taken from secondary
    sources). It is negative where a weight shrinks. Meant for fine-tuning, where
    weights move less than they are large. Pruned weights go on being scored by the
    gradient that the estimator lets through: `Masked` hides it, and what was pruned
    keeps the score it had. There has to be a step before the first selection at a
    sparsity above 0, as for `Saliency`.
    """

    needs: ClassVar[tuple[str, ...]] = ("movement",)

    def score(self, weights: np.ndarray, movement: np.ndarray) -> np.ndarray:
        """Returns `movement`.

        Args:
            weights: float32 `(taps, inputs, outputs)`.
            movement: of the same shape: the sum of `-w * g`, each with the weights
                that the gradient was taken at.
        """
        return movement
