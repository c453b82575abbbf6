"""What a regrowth is, and what it makes of a mask."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from qsparse.methods.registry import Registry
from qsparse.methods.validate import real


class Regrowth(Protocol):
    """What the compressor asks of a regrowth."""

    needs_gradients: ClassVar[bool]
    """Whether `score` is given gradients; else it is given None."""

    def fraction(self, progress: float) -> float:
        """Returns the share of the kept weights that is dropped, in [0, 1).

        Args:
            progress: how much of the pruning phase is over, in [0, 1].
        """

    def score(
        self, gradients: np.ndarray | None, shape: tuple[int, int, int], seed: int
    ) -> np.ndarray:
        """Returns how much each weight would be worth if it grew; not negative.

        Args:
            gradients: float32 `(taps, inputs, outputs)`: of the loss with respect to
                the dense weights, summed over the steps since the last selection.
            shape: `(taps, inputs, outputs)`.
            seed: a number of this layer and this step, for what is random.
        """


REGROWTHS = Registry("regrowth", ("needs_gradients", "fraction", "score"))


def regrown(
    pattern: Any,
    mask: np.ndarray,
    scores: np.ndarray,
    growth: np.ndarray,
    fraction: float,
    sparsity: float,
) -> np.ndarray:
    """Returns the mask after dropping and growing.

    What survives is what the pattern keeps of the mask at the sparsity that dropping
    leaves; the rest is filled by growth, and what was dropped may grow at once. So
    counts are those of the pattern, exactly, and tiles drop and grow as a whole.

    Args:
        pattern: a pattern whose masks may have any sparsity.
        mask: bool `(taps, inputs, outputs)`: the mask so far.
        scores: of the weights, finite.
        growth: what `Regrowth.score` returns.
        fraction: the share of the kept weights that is dropped, in [0, 1).
        sparsity: of the mask that is returned, above 0.
    """
    dropped = 1.0 - (1.0 - sparsity) * (1.0 - fraction)
    # What is not in the mask scores below all that is, weight by weight and so tile by
    # tile; what survives scores above all that could grow.
    below = scores.min() - scores.dtype.type(1) - abs(scores.min())
    survives = pattern.mask(np.where(mask, scores, below), dropped) & mask
    above = 2 * growth.max() + growth.dtype.type(1)
    return pattern.mask(np.where(survives, above, growth), sparsity)


@dataclass(frozen=True)
class Moving:
    """What the regrowths share: how much of a mask moves.

    Args:
        alpha: share of the kept weights that moves at first, above 0 and below 1; it
            falls to 0 along a cosine over the pruning phase.

    Raises:
        ValueError: if `alpha` is outside.
    """

    alpha: float = 0.3

    def __post_init__(self) -> None:
        object.__setattr__(self, "alpha", real("alpha", self.alpha))
        if not 0.0 < self.alpha < 1.0:
            raise ValueError(
                f"`alpha` must be above 0 and below 1. Received: alpha={self.alpha}"
            )

    def fraction(self, progress: float) -> float:
        """Returns `alpha / 2 * (1 + cos(pi * progress))`."""
        progress = min(max(progress, 0.0), 1.0)
        return self.alpha / 2.0 * (1.0 + math.cos(math.pi * progress))
