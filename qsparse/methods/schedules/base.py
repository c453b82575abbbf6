"""What a schedule is."""

from typing import Protocol

from qsparse.methods.registry import Registry

SCHEDULES = Registry("schedule", ("sparsity", "refreshes"))


class Schedule(Protocol):
    """What the compressor asks of a schedule."""

    def sparsity(self, step: int, begin: int, end: int, final: float) -> float:
        """Returns the sparsity in [0, final] at `step`."""

    def refreshes(self, step: int, begin: int, end: int, every: int) -> bool:
        """Returns whether masks are selected anew at `step`."""


def periodic(step: int, begin: int, end: int, every: int) -> bool:
    """Returns whether `step` is one of every `every` of a phase, or its last."""
    return begin <= step <= end and (step == end or (step - begin) % every == 0)
