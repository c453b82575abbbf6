"""The refit: the best weights for a mask, in float or on a grid.

For given zeros, the error `(w' - w) H (w' - w)^T` of a row is least where `w'` solves
the least-squares problem on the columns that are kept. With `H_kk = C C^T` it is
`||C^T w' - y||^2` and a constant, with `y = C^-1 H_k: w`: back substitution finds `w'`
from the last column to the first. Rounding each value before the next one is found
gives GPTQ's sweep (Frantar et al., "GPTQ", 2023, which is this nearest-plane walk:
Chen et al., "The geometry of LLM quantization", 2025), here on the kept columns of each
row alone, as OBC's compound compression has it ("Optimal brain compression", 2022).
Formulas are from secondary sources.
"""

import numpy as np

from qsparse.methods.formats import Format
from qsparse.oneshot.grid import Grid
from qsparse.oneshot.problem import Problem
from qsparse.oneshot.threads import for_systems

# Columns that are solved one by one before the others hear of them.
_WIDTH = 64


def refit(
    problem: Problem,
    mask: np.ndarray,
    together: int,
    format: Format | None = None,
) -> list[np.ndarray]:
    """Returns the best weights for a mask, float64 `(rows, columns)`.

    Columns that carry more are rounded first, while there are others to make up for it
    (GPTQ's "act-order").

    Args:
        problem: the layer's.
        mask: bool `(rows, columns)`, True where kept.
        together: how many rows in a row share a mask.
        format: what to round to, or None.

    Returns:
        The weights in float; and with a format those on its grid after it.
    """
    order = np.argsort(np.diag(problem.gram), kind="stable")
    found = [np.zeros_like(problem.weights) for _ in range(1 + (format is not None))]
    kept = mask[::together]
    counts = kept.sum(axis=1)
    groups = np.argsort(counts, kind="stable")
    start = 0
    while start < len(groups):
        size = _batch(problem, int(counts[groups[-1]]) + together)
        batch = groups[start : start + size]
        start += size
        columns = _columns(kept[batch], order)
        rows = batch[:, None] * together + np.arange(together)
        with for_systems(len(groups)):
            solutions = _solve(problem, columns, rows, format)
        for values, solution in zip(found, solutions, strict=True):
            values[rows] = solution
    return found


def _batch(problem: Problem, size: int) -> int:
    """Returns how many systems of `size` columns are solved at a time."""
    return max(problem.memory // (4 * 8 * size * size), 1)


def _columns(kept: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Returns the kept columns of each group, in order, with -1 before them."""
    marked = kept[:, order]
    width = int(marked.sum(axis=1).max())
    # A stable sort of the marks puts the kept ones last, in their order.
    places = np.argsort(marked, axis=1, kind="stable")[:, marked.shape[1] - width :]
    columns = order[places]
    return np.where(np.take_along_axis(marked, places, axis=1), columns, -1)


def _solve(
    problem: Problem, columns: np.ndarray, rows: np.ndarray, format: Format | None
) -> list[np.ndarray]:
    """Returns the weights of some groups of rows, `(groups, together, columns)`.

    Args:
        problem: the layer's.
        columns: the kept columns of each group, -1 where there are fewer.
        rows: the rows of each group.
        format: what to round to, or None.
    """
    factor, target = _factored(problem, columns, rows)
    groups, together = rows.shape
    places = np.broadcast_to(columns[:, None], (groups, together, columns.shape[1]))

    def spread(values: np.ndarray) -> np.ndarray:
        whole = np.zeros((groups, together, problem.weights.shape[1] + 1))
        np.put_along_axis(whole, places, values, axis=2)
        return whole[..., :-1]

    best = spread(_substituted(factor, target, None, places))
    if format is None:
        return [best]
    flat = best.reshape(-1, best.shape[2])
    grid = Grid(format, flat, problem.shape)
    return [best, spread(_substituted(factor, target, grid, places))]


def _factored(
    problem: Problem, columns: np.ndarray, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns C and y of each group: `(groups, k, k)` and `(groups, together, k)`.

    One Cholesky factorization gives both: below the factor of `[[A, B], [B^T, c]]`
    stands `(C^-1 B)^T`.
    """
    count = columns.shape[1]
    groups, together = rows.shape
    weights = problem.weights[rows]
    pulled = weights @ problem.damped
    system = np.zeros((groups, count + together, count + together))
    there = columns >= 0
    steps = np.arange(count)
    for own, kept, at in zip(system, there, columns, strict=True):
        # Rows first, which lie in one piece each: half the time of both at once.
        at = at[kept]
        own[count - len(at) : count, count - len(at) : count] = problem.damped[at][
            :, at
        ]
    system[:, steps, steps] += ~there
    right = np.take_along_axis(pulled, np.maximum(columns, 0)[:, None], axis=2)
    system[:, count:, :count] = right * there[:, None]
    # Great enough that what stands at the corner has a factor, too.
    corner = 1.0 + 2.0 * (pulled * weights).sum(axis=(1, 2))
    ends = np.arange(count, count + together)
    system[:, ends, ends] = corner[:, None]
    factor = np.linalg.cholesky(system)
    return factor[:, :count, :count], factor[:, count:, :count]


def _substituted(
    factor: np.ndarray, target: np.ndarray, grid: Grid | None, places: np.ndarray
) -> np.ndarray:
    """Returns x with `C^T x` next to `target`, from the last column to the first.

    Args:
        factor: C, lower triangular `(groups, k, k)`.
        target: y, `(groups, together, k)`.
        grid: what x is rounded to as soon as it is found; None leaves the solution.
        places: the layer's column of each value; -1 for none.
    """
    values = np.zeros_like(target)
    left = target.copy()
    count = target.shape[2]
    for stop in range(count, 0, -_WIDTH):
        start = max(stop - _WIDTH, 0)
        for j in range(stop - 1, start - 1, -1):
            value = left[:, :, j] / factor[:, j, j, None]
            if grid is not None:
                at = places[:, :, j]
                rounded = grid.round(value.reshape(-1), at.reshape(-1))
                value = np.where(at >= 0, rounded.reshape(value.shape), 0.0)
            values[:, :, j] = value
            left[:, :, start:j] -= value[..., None] * factor[:, None, j, start:j]
        done = values[:, :, start:stop]
        left[:, :, :start] -= done @ factor[:, start:stop, :start]
    return values
