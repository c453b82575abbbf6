"""Criteria: how much a weight matters. The lowest scores are pruned first."""

import numpy as np


def magnitude(weights: np.ndarray) -> np.ndarray:
    """Score a weight by its absolute value.

    Args:
        weights: float array of any shape.

    Returns:
        Array of the same shape and dtype.
    """
    return np.abs(weights)
