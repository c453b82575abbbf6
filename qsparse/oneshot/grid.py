"""The grid: the numbers that a format leaves for the weights of each output."""

from typing import Any

import numpy as np

from qsparse.methods.formats import Format
from qsparse.oneshot.problem import canonical, rows_of

# A scale that is derived anew from what it scaled moves by one unit in the last place.
_ROUNDS = 50


class Grid:
    """The grid that a format lays on some rows of weights.

    The export derives each scale anew, from the greatest weight of an output. So the
    weight that a scale came from, the anchor, keeps its code, whatever is made of the
    others: the grid stays where it is.

    Args:
        format: what the weights are rounded to.
        rows: float weights `(rows, columns)`.
        shape: the kernel's canonical shape, `(taps, inputs, outputs)`.
    """

    def __init__(
        self, format: Format, rows: np.ndarray, shape: tuple[int, int, int]
    ) -> None:
        weights = canonical(rows, shape).astype(np.float32)
        codes, scale = format.encode(weights)
        steps = np.broadcast_to(np.asarray(scale, np.float64), weights.shape)
        self._steps = rows_of(steps)
        codes = rows_of(codes.astype(np.float64))
        self._anchors = np.abs(codes).argmax(axis=1)
        self._anchored = codes[np.arange(len(codes)), self._anchors]

    def round(self, values: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Returns one value of each row, rounded to the grid.

        Args:
            values: float64 `(rows,)`.
            columns: the column of each value, `(rows,)`.
        """
        steps = self._steps[np.arange(len(values)), columns]
        limit = np.abs(self._anchored)
        codes = np.clip(np.rint(values / steps), -limit, limit)
        return np.where(columns == self._anchors, self._anchored, codes) * steps


def settled(format: Format, weights: np.ndarray) -> np.ndarray:
    """Returns weights rounded to a format, so that rounding them again changes nothing.

    Args:
        format: what they are rounded to.
        weights: float `(taps, inputs, outputs)`.

    Returns:
        float32, `format.decode(*format.encode(values)) == values`, bit for bit.

    Raises:
        ValueError: if the format does not come to rest.
    """
    values: Any = weights.astype(np.float32)
    for _ in range(_ROUNDS):
        rounded = format.decode(*format.encode(values))
        if np.array_equal(rounded, values):
            return rounded
        values = rounded
    raise ValueError(
        f"{format} rounds what it has rounded to other values, again and again. "
        "One-shot compression needs a format that leaves its own numbers alone."
    )
