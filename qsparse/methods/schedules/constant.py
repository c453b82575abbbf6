"""Constant: all at once, and masks that keep following the weights."""

from dataclasses import dataclass

from qsparse.methods.schedules.base import SCHEDULES, periodic


@SCHEDULES.register("constant")
@dataclass(frozen=True)
class Constant:
    """The final sparsity from the first step; masks keep following the weights."""

    def sparsity(self, step: int, begin: int, end: int, final: float) -> float:
        """Returns `final` from `begin` on."""
        return final if step >= begin else 0.0

    def refreshes(self, step: int, begin: int, end: int, every: int) -> bool:
        """Every `every` steps of the phase, and at its end."""
        return periodic(step, begin, end, every)
