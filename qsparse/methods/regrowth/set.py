"""SET: pruned weights grow at random."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from qsparse.methods.regrowth.base import REGROWTHS, Moving


@REGROWTHS.register("set")
@dataclass(frozen=True)
class SET(Moving):
    """Sparse evolutionary training (Mocanu et al., 2018).

    Drops the kept weights with the lowest scores, |w| by default, and grows pruned ones
    at random. As `RigL`, it goes with `schedule="constant"`; what is drawn is the same
    on every machine and when a training resumes.

    Args:
        alpha: share of the kept weights that moves at first, above 0 and below 1; it
            falls to 0 along a cosine over the pruning phase, as RigL's does. The
            paper moves 0.3 throughout.

    Raises:
        ValueError: if `alpha` is outside.
    """

    needs_gradients: ClassVar[bool] = False

    def score(
        self, gradients: np.ndarray | None, shape: tuple[int, int, int], seed: int
    ) -> np.ndarray:
        """Returns random numbers in [0, 1)."""
        return np.random.default_rng(seed).random(shape)
