"""The choice: of several masks and ways to round, what errs least on the data.

So a method is never worse than magnitude, whatever the data is: the mask of magnitude
is among the choices, with the best weights for it and with its own.
"""

from typing import Any, NamedTuple

import numpy as np

from qsparse.methods.criteria import Magnitude
from qsparse.methods.formats import Format
from qsparse.oneshot.base import Method
from qsparse.oneshot.grid import settled
from qsparse.oneshot.problem import Problem
from qsparse.oneshot.refit import refit


class Solution(NamedTuple):
    """What becomes of a layer.

    Attributes:
        values: float32 `(taps, inputs, outputs)`, zero where pruned; on the format's
            grid, if there is one, so that rounding them again changes nothing.
        mask: bool of the same shape, True where kept; None if not pruned.
        error: `||W X - W' X||^2 / ||W X||^2`; 0 where the layer computes only zeros.
        baseline: the same of magnitude's mask, nothing refitted, every weight rounded
            to nearest.
    """

    values: np.ndarray
    mask: np.ndarray | None
    error: float
    baseline: float


class _Candidate(NamedTuple):
    """Weights and their mask, as rows, and the error of each row."""

    values: np.ndarray
    mask: np.ndarray
    errors: np.ndarray


def solve(problem: Problem, plan: Any, method: Method) -> Solution:
    """Returns what a method makes of a layer.

    Args:
        problem: the layer's weights and inputs.
        plan: its `LayerPlan`.
        method: what says which weights stay.
    """
    format, pattern = plan.weight_format, plan.pattern
    magnitude = _all_kept(problem)
    if pattern is not None:
        weights = problem.canonical(problem.weights).astype(np.float32)
        scores = Magnitude().score(weights)
        magnitude = problem.rows(pattern.mask(scores, plan.sparsity))
    baseline = _plain(problem, magnitude, format)
    if method.refits:
        best = _refitted(problem, magnitude, plan)
        if pattern is not None:
            mask = problem.rows(method.mask(problem, plan))
            best = _better(_refitted(problem, mask, plan), best, plan)
        best = _better(best, baseline, plan)
    elif pattern is not None:
        best = _plain(problem, problem.rows(method.mask(problem, plan)), format)
    else:
        best = baseline
    energy = problem.energy or 1.0
    return Solution(
        problem.canonical(best.values).astype(np.float32),
        None if pattern is None else problem.canonical(best.mask),
        float(best.errors.sum()) / energy,
        float(baseline.errors.sum()) / energy,
    )


def _all_kept(problem: Problem) -> np.ndarray:
    return np.ones(problem.weights.shape, bool)


def _plain(problem: Problem, mask: np.ndarray, format: Format | None) -> _Candidate:
    """Returns the weights as they are, masked and rounded to nearest."""
    return _candidate(problem, problem.weights * mask, mask, format)


def _candidate(
    problem: Problem, values: np.ndarray, mask: np.ndarray, format: Format | None
) -> _Candidate:
    """Returns weights as the layer will hold them, in float32 and on the grid."""
    if format is None:
        held = values.astype(np.float32)
    else:
        held = problem.rows(settled(format, problem.canonical(values)))
    values = held.astype(np.float64)
    return _Candidate(values, mask, problem.errors(values))


def _refitted(problem: Problem, mask: np.ndarray, plan: Any) -> _Candidate:
    """Returns the best weights for a mask, each row rounded as suits it better."""
    pattern, format = plan.pattern, plan.weight_format
    together = len(mask) if pattern is None else _rows_of_a_tile(pattern)
    # What a sweep rounds comes after what is rounded to nearest, if equally good.
    found = refit(problem, mask, together, format)
    candidates = [_candidate(problem, values, mask, format) for values in found]
    best = candidates[-1]
    for other in candidates[:-1]:
        best = _picked(best, other, other.errors < best.errors)
    return best


def _rows_of_a_tile(pattern: Any) -> int:
    return getattr(pattern, "tile", (1, 1))[0]


def _better(first: _Candidate, other: _Candidate, plan: Any) -> _Candidate:
    """Returns the better of two; the first, if they are equal.

    Tiles of rows of N:M choose by themselves. Elsewhere the count of zeros is that of
    the whole layer, and a mixture would miss it. Of equal masks each row chooses.
    """
    loses = first.errors - other.errors
    if not np.array_equal(first.mask, other.mask):
        rows = _rows_of_a_tile(plan.pattern)
        size = rows if hasattr(plan.pattern, "m") else len(loses)
        loses = loses.reshape(-1, size).sum(axis=1).repeat(size)
    return _picked(first, other, loses > 0)


def _picked(first: _Candidate, other: _Candidate, take: np.ndarray) -> _Candidate:
    return _Candidate(
        np.where(take[:, None], other.values, first.values),
        np.where(take[:, None], other.mask, first.mask),
        np.where(take, other.errors, first.errors),
    )
