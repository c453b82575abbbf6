"""Sampled: a user's plain function of the progress, as numbers that a file can hold."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from qsparse.methods.schedules.base import (
    SCHEDULES,
    Function,
    periodic,
    progress_of,
)
from qsparse.methods.validate import real

# Parts of the progress between samples; as a power of two, their ends are exact floats.
_PARTS = 256
# What a function may miss by, as one that rounds.
_SLACK = 1e-6


@SCHEDULES.register("sampled")
@dataclass(frozen=True)
class Sampled:
    """Shares of the final sparsity at equal distances, with straight lines between.

    `Recipe(schedule=lambda progress: progress**2)` makes one of 257 samples. A file
    holds the numbers and no code, and recipes stay comparable.

    Args:
        shares: at least two numbers in [0, 1] that never fall, the last of them 1: the
            share of the final sparsity from the begin of pruning to its end.

    Raises:
        ValueError: if they are not that.
    """

    shares: tuple[float, ...]

    def __post_init__(self) -> None:
        listed = isinstance(self.shares, list | tuple) and len(self.shares) > 1
        if not listed:
            raise ValueError(
                "Sampled needs `shares`, two or more numbers. "
                f"Received: shares={self.shares!r}"
            )
        shares = tuple(real("shares", share) for share in self.shares)
        rows = [f"shares[{i}]={share}" for i, share in enumerate(shares)]
        object.__setattr__(self, "shares", _checked(shares, rows))

    @classmethod
    def from_function(cls, function: Function) -> "Sampled":
        """Returns the samples of a function of the progress.

        Args:
            function: takes the progress of the pruning phase, a float in [0, 1], and
                returns the share of the final sparsity, in [0, 1]. It never falls and
                ends at 1.

        Raises:
            ValueError: if it does not do that; the progress where it fails is named.
        """
        shares = []
        for part in range(_PARTS + 1):
            progress = part / _PARTS
            shares.append(_share(function, progress))
        rows = [f"{y:g} at progress {i / _PARTS:g}" for i, y in enumerate(shares)]
        return cls(_checked(tuple(shares), rows))

    def sparsity(self, step: int, begin: int, end: int, final: float) -> float:
        """Returns the sparsity at `step`; 0 before `begin`."""
        if step < begin:
            return 0.0
        place = progress_of(step, begin, end) * (len(self.shares) - 1)
        return final * float(np.interp(place, range(len(self.shares)), self.shares))

    def refreshes(self, step: int, begin: int, end: int, every: int) -> bool:
        """Every `every` steps of the phase, and at its end."""
        return periodic(step, begin, end, every)


def _share(function: Function, progress: float) -> float:
    try:
        share: Any = function(progress)
    except Exception as error:
        raise ValueError(
            f"schedule={function!r} fails at progress {progress:g}: {error}. A "
            "function that is a schedule takes the progress of pruning, in [0, 1]."
        ) from error
    try:
        return real("share", float(share))
    except (TypeError, ValueError):
        raise ValueError(
            f"schedule={function!r} must return a finite number, the share of the "
            f"final sparsity. Received: {share!r} at progress {progress:g}"
        ) from None


def _checked(shares: tuple[float, ...], rows: list[str]) -> tuple[float, ...]:
    """Returns shares that are a schedule, free of what rounding missed.

    Args:
        shares: finite numbers.
        rows: how each is called in an error.
    """
    for i, share in enumerate(shares):
        if not -_SLACK <= share <= 1.0 + _SLACK:
            raise ValueError(
                "A schedule gives shares of the final sparsity, in [0, 1]. "
                f"Received: {rows[i]}"
            )
        if i and share < shares[i - 1] - _SLACK:
            raise ValueError(
                "A schedule never falls: weights that come back have missed training. "
                f"Received: {rows[i - 1]}, then {rows[i]}"
            )
    if shares[-1] < 1.0 - _SLACK:
        raise ValueError(
            "A schedule ends at 1, the whole of the final sparsity. "
            f"Received: {rows[-1]}. Divide by that."
        )
    risen = np.maximum.accumulate(np.clip(shares, 0.0, 1.0)).tolist()
    return (*risen[:-1], 1.0)
