"""Cosine: slow at both ends."""

import math
from dataclasses import dataclass

from qsparse.methods.schedules.base import (
    SCHEDULES,
    periodic,
    progress_of,
    share_of_final,
)
from qsparse.methods.validate import real


@SCHEDULES.register("cosine")
@dataclass(frozen=True)
class Cosine:
    """Half a cosine: slow at both ends, fastest in the middle.

    `s(p) = f - f * (1 - initial) * (1 + cos(pi * p)) / 2`, with the progress `p` of the
    pruning phase and the final sparsity `f`.

    Args:
        initial: share of the final sparsity reached in the first step, in [0, 1].

    Raises:
        ValueError: if `initial` is outside [0, 1].
    """

    initial: float = 0.0

    def __post_init__(self) -> None:
        initial = real("initial", self.initial)
        object.__setattr__(self, "initial", share_of_final("Cosine", initial))

    def sparsity(self, step: int, begin: int, end: int, final: float) -> float:
        """Returns the sparsity at `step`; 0 before `begin`."""
        if step < begin:
            return 0.0
        left = (1.0 + math.cos(math.pi * progress_of(step, begin, end))) / 2.0
        return final * (1.0 - (1.0 - self.initial) * left)

    def refreshes(self, step: int, begin: int, end: int, every: int) -> bool:
        """Every `every` steps of the phase, and at its end."""
        return periodic(step, begin, end, every)
