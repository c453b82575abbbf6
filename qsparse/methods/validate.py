"""Checks of a user's numbers: one clear error, and plain Python types after it."""

import math
from numbers import Integral, Real
from typing import Any


def real(name: str, value: Any) -> float:
    """Returns a finite number as a float, so that JSON can hold it.

    Raises:
        ValueError: if it is not one; numpy scalars are, strings and bools are not.
    """
    number = isinstance(value, Real) and not isinstance(value, bool)
    if not number or not math.isfinite(value):
        raise ValueError(
            f"`{name}` must be a finite number. Received: {name}={value!r}"
        )
    return float(value)


def whole(name: str, value: Any) -> int:
    """Returns an integer as an int, so that JSON can hold it.

    Raises:
        ValueError: if it is not one; numpy integers are, floats and bools are not.
    """
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise ValueError(f"`{name}` must be an integer. Received: {name}={value!r}")
    return int(value)
