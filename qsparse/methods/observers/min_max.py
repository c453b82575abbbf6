"""Min-max: all that was ever seen."""

from dataclasses import dataclass
from typing import Any

from keras import ops

from qsparse.methods.observers.base import OBSERVERS


@OBSERVERS.register("min-max")
@dataclass(frozen=True)
class MinMax:
    """The least and the greatest value of all steps: nothing is ever clipped.

    One outlier early in training stays for good, and makes every step of the grid
    coarser; `MovingAverage` forgets it.
    """

    def moved(self, before: Any, seen: Any) -> Any:
        """Returns the larger of the two, end by end."""
        return ops.maximum(before, seen)
