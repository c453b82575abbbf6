"""Capacity: how many weights of a kernel a pattern can make zero, and in what steps.

What an allocation asks of a pattern. A pattern answers with two methods of its own,
`capacity(shape)` and `unit_scores(scores)`; one without them is taken for one that
prunes weight by weight and leaves every output its best one.
"""

import math
from typing import Any, NamedTuple

import numpy as np


class Capacity(NamedTuple):
    """What a pattern can do to a kernel.

    Attributes:
        unit: how many weights become zero together: those of a tile, or the group
            that obeys N:M or does not.
        most: the largest share of zeros that a mask has, in [0, 1).
        fixed: the share of zeros that it has at the end, whatever is asked for; None
            where that is free.
    """

    unit: int
    most: float
    fixed: float | None = None


def capacity(pattern: Any, shape: tuple[int, int, int]) -> Capacity:
    """Returns what a pattern can do to a kernel that it fits.

    Args:
        pattern: any registered pattern.
        shape: canonical, `(taps, inputs, outputs)`.
    """
    own = getattr(pattern, "capacity", None)
    return tile_capacity(shape, (1, 1)) if own is None else own(shape)


def unit_scores(pattern: Any, scores: np.ndarray) -> np.ndarray:
    """Returns the scores of a pattern's units `(units, columns)`.

    The best unit of every column always stays: no output is without any weight.

    Args:
        pattern: any registered pattern whose sparsity is free.
        scores: of the weights, `(taps, inputs, outputs)`.
    """
    own = getattr(pattern, "unit_scores", None)
    return scores.reshape(-1, scores.shape[2]) if own is None else own(scores)


def tile_capacity(shape: tuple[int, int, int], block: tuple[int, int]) -> Capacity:
    """Returns the capacity of tiles of `block=(outputs, inputs)` weights."""
    taps, inputs, _ = shape
    return Capacity(math.prod(block), 1.0 - block[1] / (taps * inputs))
