"""RigL: pruned weights grow where the loss's gradient is largest."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from qsparse.methods.regrowth.base import REGROWTHS, Moving


@REGROWTHS.register("rigl")
@dataclass(frozen=True)
class RigL(Moving):
    """Rigging the lottery (Evci et al., 2020).

    Drops the kept weights with the lowest scores, |w| by default, and grows the pruned
    ones with the largest |g|. It goes with `schedule="constant"`, so that training is
    sparse from its first step, `estimator="ste"`, which lets the gradients of pruned
    weights be seen, and `prune_until=0.75`. The paper looks at the gradient of one
    batch; here it is summed over the steps since the last selection, and the step of a
    selection is an ordinary one, not skipped.

    Args:
        alpha: share of the kept weights that moves at first, above 0 and below 1; it
            falls to 0 along a cosine over the pruning phase. 0.3 is the paper's.

    Raises:
        ValueError: if `alpha` is outside.
    """

    needs_gradients: ClassVar[bool] = True

    def score(
        self, gradients: np.ndarray | None, shape: tuple[int, int, int], seed: int
    ) -> np.ndarray:
        """Returns `|gradients|`."""
        if gradients is None:
            raise ValueError("RigL grows weights by their gradients. Received: None")
        return np.abs(gradients)
