"""An exponential moving average of least and greatest values."""

from dataclasses import dataclass
from typing import Any

from qsparse.methods.observers.base import OBSERVERS
from qsparse.methods.validate import real


@OBSERVERS.register("moving-average")
@dataclass(frozen=True)
class MovingAverage:
    """An exponential moving average of each step's least and greatest value.

    Args:
        momentum: weight of the range so far, in [0, 1).

    Raises:
        ValueError: if `momentum` is outside.
    """

    momentum: float = 0.95

    def __post_init__(self) -> None:
        object.__setattr__(self, "momentum", real("momentum", self.momentum))
        if not 0.0 <= self.momentum < 1.0:
            raise ValueError(
                f"`momentum` must be in [0, 1). Received: momentum={self.momentum}"
            )

    def moved(self, before: Any, seen: Any) -> Any:
        """Returns `momentum * before + (1 - momentum) * seen`."""
        return self.momentum * before + (1.0 - self.momentum) * seen
