"""What a schedule is, and how a user's function becomes one."""

from collections.abc import Callable
from typing import Any, Protocol

from qsparse.methods.registry import Registry


class Schedule(Protocol):
    """What the compressor asks of a schedule.

    A third method is optional, `pattern(step, begin, end, pattern, shape)`: it returns
    the pattern that is laid on a kernel of a canonical shape at a step, in place of the
    recipe's `pattern`. At `end` that has to be `pattern` itself. It raises a
    `ValueError` for a pattern that it cannot lead to.
    """

    def sparsity(self, step: int, begin: int, end: int, final: float) -> float:
        """Returns the sparsity in [0, final] at `step`."""

    def refreshes(self, step: int, begin: int, end: int, every: int) -> bool:
        """Returns whether masks are selected anew at `step`."""


class Schedules(Registry):
    """Schedules also go by a plain function of the progress.

    One of them says so with a class method `from_function(function)`.
    """

    def get(self, identifier: Any) -> Any:
        """Returns an instance from an instance, a name, a dict, or a function.

        Raises:
            ValueError: if the identifier is none of these, or the function is no
                schedule.
        """
        known = isinstance(identifier, type) or hasattr(identifier, "sparsity")
        if callable(identifier) and not known:
            makers = (c for c in self.classes.values() if hasattr(c, "from_function"))
            return next(makers).from_function(identifier)
        return super().get(identifier)

    def _allowed(self) -> str:
        return super()._allowed() + ", or a function of the progress in [0, 1]"


SCHEDULES = Schedules("schedule", ("sparsity", "refreshes"))

Function = Callable[[float], float]


def periodic(step: int, begin: int, end: int, every: int) -> bool:
    """Returns whether `step` is one of every `every` of a phase, or its last."""
    return begin <= step <= end and (step == end or (step - begin) % every == 0)


def progress_of(step: int, begin: int, end: int) -> float:
    """Returns how much of a phase that has begun is over, in [0, 1]."""
    return 1.0 if step >= end else (step - begin) / (end - begin)


def share_of_final(name: str, initial: float) -> float:
    """Returns the share of the final sparsity that a schedule begins with, checked."""
    if not 0.0 <= initial <= 1.0:
        raise ValueError(
            f"{name} needs 0 <= initial <= 1, a share of the final sparsity. "
            f"Received: initial={initial}"
        )
    return initial


def laid_on(
    schedule: Any,
    step: int,
    phase: tuple[int, int],
    pattern: Any,
    shape: tuple[int, int, int],
) -> Any:
    """Returns the pattern that a schedule lays on a kernel at a step.

    Args:
        schedule: any schedule.
        step: at least `begin`.
        phase: the first and the last step of pruning.
        pattern: what the kernel is to have in the end.
        shape: the kernel's, canonical.

    Raises:
        ValueError: if the schedule cannot lead to `pattern`.
    """
    own = getattr(schedule, "pattern", None)
    return pattern if own is None else own(step, *phase, pattern, shape)
