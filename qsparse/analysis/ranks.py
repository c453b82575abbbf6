"""How well two measurements agree on which is best, and which is worst."""

from typing import Any

import numpy as np


def rank_correlation(one: Any, other: Any) -> float:
    """Returns Spearman's rank correlation, in [-1, 1].

    The correlation of ranks, where equal values share the mean of their ranks; not a
    number where all values of one are equal.

    Args:
        one: finite numbers, two at least.
        other: as many.

    Raises:
        ValueError: if they are not as many, fewer than two, or not finite.
    """
    pair = [np.asarray(values, float).ravel() for values in (one, other)]
    if len(pair[0]) != len(pair[1]) or len(pair[0]) < 2:
        raise ValueError(
            "A rank correlation is of pairs, two at least. "
            f"Received: {len(pair[0])} and {len(pair[1])} numbers"
        )
    if not all(np.isfinite(values).all() for values in pair):
        raise ValueError("The numbers must be finite; some are NaN or infinite.")
    ranks = [_ranks(values) for values in pair]
    deviations = [each - each.mean() for each in ranks]
    sizes = [float(np.linalg.norm(each)) for each in deviations]
    if 0.0 in sizes:
        return float("nan")
    return float(deviations[0] @ deviations[1]) / (sizes[0] * sizes[1])


def _ranks(values: np.ndarray) -> np.ndarray:
    """Returns ranks from 0 on; equal values have the mean of theirs."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    found: np.ndarray = ((last - counts + last - 1) / 2.0)[places]
    return found
