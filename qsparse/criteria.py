"""Criteria: how much a weight matters. The lowest scores are pruned first."""

from collections.abc import Callable

import numpy as np

Criterion = Callable[[np.ndarray], np.ndarray]


def magnitude(weights: np.ndarray) -> np.ndarray:
    """Score a weight by its absolute value.

    Args:
        weights: float array of any shape.

    Returns:
        Array of the same shape and dtype.
    """
    return np.abs(weights)


CRITERIA: dict[str, Criterion] = {"magnitude": magnitude}
