"""Linear: the same rise at every step."""

from dataclasses import dataclass

from qsparse.methods.schedules.base import (
    SCHEDULES,
    periodic,
    progress_of,
    share_of_final,
)
from qsparse.methods.validate import real


@SCHEDULES.register("linear")
@dataclass(frozen=True)
class Linear:
    """The same rise at every step: `s(p) = f * (initial + (1 - initial) * p)`.

    `p` is the progress of the pruning phase, `f` the final sparsity.

    Args:
        initial: share of the final sparsity reached in the first step, in [0, 1].

    Raises:
        ValueError: if `initial` is outside [0, 1].
    """

    initial: float = 0.0

    def __post_init__(self) -> None:
        initial = real("initial", self.initial)
        object.__setattr__(self, "initial", share_of_final("Linear", initial))

    def sparsity(self, step: int, begin: int, end: int, final: float) -> float:
        """Returns the sparsity at `step`; 0 before `begin`."""
        if step < begin:
            return 0.0
        left = 1.0 - progress_of(step, begin, end)
        return final * (1.0 - (1.0 - self.initial) * left)

    def refreshes(self, step: int, begin: int, end: int, every: int) -> bool:
        """Every `every` steps of the phase, and at its end."""
        return periodic(step, begin, end, every)
