"""The clock: steps of training, and over which of them a recipe is laid out.

A recipe has two parts, pruning and quantizing. Both begin together, or the second
one joins a model that has carried out the first; each counts its moments over the
steps of the training that it began with.
"""

from collections.abc import Sequence
from typing import NamedTuple


def step_of(moment: float | int, total: int) -> int:
    """Returns the step of a moment in a training of `total` steps."""
    return round(moment * total) if isinstance(moment, float) else moment


class Span(NamedTuple):
    """The training that one part of a recipe is laid out over.

    Attributes:
        start: the step that it begins with; -1: it has not begun.
        total: its length in steps; 0: unknown.
    """

    start: int = -1
    total: int = 0

    @property
    def begun(self) -> bool:
        """Whether this part began."""
        return self.start >= 0

    def step_of(self, moment: float | int) -> int:
        """Returns the step of a moment, at most the last step of the span."""
        step = step_of(moment, self.total)
        return self.start + (min(step, self.total - 1) if self.total else step)


class Clock(NamedTuple):
    """How many steps a compressed model has made, and what began when.

    A step is one batch of `fit`, whatever optimizers it moves. It counts through all
    trainings of the model.

    Attributes:
        step: the last step that was seen to; -1 before the first.
        pruning: the span of the pruning part.
        quantizing: the span of the quantizing part.
    """

    step: int = -1
    pruning: Span = Span()
    quantizing: Span = Span()

    @property
    def begun(self) -> bool:
        """Whether any part of the recipe began."""
        return self.pruning.begun or self.quantizing.begun

    @property
    def remaining(self) -> int:
        """Steps from here to the end of the spans, as far as it is known."""
        ends = [s.start + s.total for s in (self.pruning, self.quantizing) if s.begun]
        return max(max(ends, default=0) - self.step - 1, 0)

    def to_list(self) -> list[int]:
        """Returns the five integers that a model and its files hold."""
        return [self.step, *self.pruning, *self.quantizing]

    @classmethod
    def from_saved(
        cls, values: Sequence[int], prunes: bool, quantizes: bool
    ) -> "Clock":
        """Reads the integers of `to_list`, or the three that files held before.

        Those were the optimizer's iteration at the start (-1: none), the total, and
        the last step. The start turned negative when the optimizer changed.

        Args:
            values: what the file holds.
            prunes: whether the recipe of the file prunes.
            quantizes: whether it quantizes.

        Raises:
            ValueError: if there are neither five nor three integers.
        """
        numbers = [int(value) for value in values]
        if len(numbers) == 5:
            return cls(numbers[0], Span(*numbers[1:3]), Span(*numbers[3:5]))
        if len(numbers) != 3:
            raise ValueError(f"A clock has five integers. Received: {numbers}")
        start, total, step = numbers
        span = Span(0, total) if start >= 0 or step >= 0 else Span()
        return cls(step, span if prunes else Span(), span if quantizes else Span())
