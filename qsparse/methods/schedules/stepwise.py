"""Stepwise: a few equal steps, with time to recover behind each."""

from dataclasses import dataclass

from qsparse.methods.schedules.base import SCHEDULES, periodic
from qsparse.methods.validate import whole


@SCHEDULES.register("stepwise")
@dataclass(frozen=True)
class Stepwise:
    """Equal steps of equal length; the first at once, the last at the final sparsity.

    Of `n` steps, step `i` lasts from `i / n` to `(i + 1) / n` of the pruning phase and
    has `(i + 1) / n` of the final sparsity.

    Args:
        steps: how many, at least 1.

    Raises:
        ValueError: if `steps` is not positive.
    """

    steps: int = 4

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", whole("steps", self.steps))
        if self.steps < 1:
            raise ValueError(f"Stepwise needs steps >= 1. Received: steps={self.steps}")

    def _step(self, step: int, begin: int, end: int) -> int:
        """Returns which of the equal steps it is, 1 the first; 0 before `begin`."""
        if step < begin:
            return 0
        if step >= end:
            return self.steps
        return (step - begin) * self.steps // (end - begin) + 1

    def sparsity(self, step: int, begin: int, end: int, final: float) -> float:
        """Returns the sparsity at `step`; 0 before `begin`."""
        return final * (self._step(step, begin, end) / self.steps)

    def refreshes(self, step: int, begin: int, end: int, every: int) -> bool:
        """Every `every` steps of the phase, at its end, and where sparsity rises."""
        rises = self._step(step, begin, end) > self._step(step - 1, begin, end)
        return periodic(step, begin, end, every) or (rises and step <= end)
