"""One shot: all at once, and masks that never change again."""

from dataclasses import dataclass

from qsparse.methods.schedules.base import SCHEDULES


@SCHEDULES.register("one-shot")
@dataclass(frozen=True)
class OneShot:
    """The final sparsity in one step at `begin`; the masks never change again."""

    def sparsity(self, step: int, begin: int, end: int, final: float) -> float:
        """Returns `final` from `begin` on."""
        return final if step >= begin else 0.0

    def refreshes(self, step: int, begin: int, end: int, every: int) -> bool:
        """Only at `begin`."""
        return step == begin
