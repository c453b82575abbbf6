"""Cubic: fast at first, slow near the end."""

from dataclasses import dataclass

from qsparse.methods.schedules.base import SCHEDULES, periodic
from qsparse.methods.validate import real


@SCHEDULES.register("cubic")
@dataclass(frozen=True)
class Cubic:
    """Zhu and Gupta (2017): fast at first, slow near the final sparsity.

    `s(t) = f + (i - f) * (1 - (t - begin) / (end - begin))^power`, with
    `i = initial * f`.

    Args:
        initial: share of the final sparsity reached in the first step, in [0, 1].
        power: exponent, 3 for the cubic of the paper; 1 is linear.

    Raises:
        ValueError: if `initial` is outside [0, 1] or `power` is not positive.
    """

    initial: float = 0.0
    power: float = 3.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "initial", real("initial", self.initial))
        object.__setattr__(self, "power", real("power", self.power))
        if not 0.0 <= self.initial <= 1.0 or self.power <= 0:
            raise ValueError(
                "Cubic needs 0 <= initial <= 1 and power > 0. "
                f"Received: initial={self.initial}, power={self.power}"
            )

    def sparsity(self, step: int, begin: int, end: int, final: float) -> float:
        """Returns the sparsity at `step`; 0 before `begin`."""
        if step < begin:
            return 0.0
        if step >= end:
            return final
        left = 1.0 - (step - begin) / (end - begin)
        return final + (self.initial * final - final) * left**self.power

    def refreshes(self, step: int, begin: int, end: int, every: int) -> bool:
        """Every `every` steps of the phase, and at its end."""
        return periodic(step, begin, end, every)
