"""Saliency: what the loss would change by without a weight, to first order."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from qsparse.methods.criteria.base import CRITERIA


@CRITERIA.register("saliency")
@dataclass(frozen=True)
class Saliency:
    """Scores a weight by how much the loss would change without it, to first order.

    `|w * g|` (Molchanov et al., "Importance estimation for neural network pruning",
    2019), with `g` summed over the batches of `score_data` or, where none is given,
    over the steps since the last selection. Then there has to be a step before the
    first selection at a sparsity above 0: with a schedule that starts at once, give
    `prune_from`. `Masked` hides the gradients of pruned weights, which then never come
    back.
    """

    needs: ClassVar[tuple[str, ...]] = ("gradients",)

    def score(self, weights: np.ndarray, gradients: np.ndarray) -> np.ndarray:
        """Returns `|weights * gradients|`.

        Args:
            weights: float32 `(taps, inputs, outputs)`.
            gradients: of the same shape: the sum of the loss's gradients with respect
                to the dense weights, as the optimizer got them.
        """
        return np.abs(weights * gradients)
