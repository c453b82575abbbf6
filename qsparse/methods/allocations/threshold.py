"""One threshold over the scores of all layers, found by selection, not by sorting."""

from collections.abc import Callable, Sequence

import numpy as np

from qsparse.methods.allocations.base import Kernel
from qsparse.methods.allocations.total import evenly, shared_out

Scores = Callable[[np.ndarray], np.ndarray]


def by_one_threshold(
    kernels: Sequence[Kernel], sparsity: float, scored: Scores
) -> list[float]:
    """Returns the sparsities at which the lowest scores of all layers go.

    The units of all kernels stand in one row, from the lowest score per weight up; of
    a tie those of the later kernel come first. The row is cut where the zeros are
    nearest to what is asked for: within half a unit, and kernels never get a unit back
    when the sparsity grows. The best unit of each column is not in the row.

    Kernels without scores, as before training, are given equal shares.

    Args:
        kernels: all that are pruned; either all of the free ones have scores or none.
        sparsity: share of zeros among all their weights, in [0, 1).
        scored: makes of the scores of a kernel's units what counts, of one shape. It
            has to keep their order.
    """

    def share(free: list[Kernel], zeros: float) -> list[float]:
        rows = [
            _may_go(kernel.scores(), scored) / kernel.unit
            for kernel in free
            if kernel.scores is not None
        ]
        if not rows:
            return evenly(free, zeros)
        units = [kernel.unit for kernel in free]
        gone = _counts(rows, units, zeros)
        return [
            n * kernel.unit / kernel.weights
            for n, kernel in zip(gone, free, strict=True)
        ]

    return shared_out(kernels, sparsity, share)


def _may_go(scores: np.ndarray, scored: Scores) -> np.ndarray:
    """Returns, in one row, what counts of the units that do not have to stay."""
    goes = np.ones(scores.shape, bool)
    goes[scores.argmax(axis=0), np.arange(scores.shape[1])] = False
    return scored(scores)[goes]


def _counts(rows: list[np.ndarray], units: list[int], zeros: float) -> list[int]:
    """Returns how many of each row's units go, the lowest of all rows first.

    Args:
        rows: the scores of units, one row for each kernel.
        units: the weights in a unit of each row.
        zeros: how many weights are to go.
    """
    if zeros >= sum(u * row.size for u, row in zip(units, rows, strict=True)):
        return [row.size for row in rows]
    border = _border(rows, units, zeros)
    counts = [int(np.count_nonzero(row < border)) for row in rows]
    left = zeros - sum(u * n for u, n in zip(units, counts, strict=True))
    for i in reversed(range(len(rows))):
        ties = int(np.count_nonzero(rows[i] == border))
        wanted = max(int(np.floor(left / units[i] + 0.5)), 0)
        counts[i] += min(ties, wanted)
        if wanted < ties:
            break
        left -= ties * units[i]
    return counts


def _border(rows: list[np.ndarray], units: list[int], zeros: float) -> np.number:
    """Returns the lowest score up to which, with it, more than `zeros` weights lie.

    Each round looks at the middle of what is left and drops the half that the border
    is not in.
    """
    left = zeros
    while True:
        everything = np.concatenate(rows)
        half = everything.size // 2
        middle = np.partition(everything, half)[half]
        below = _weights([row[row < middle] for row in rows], units)
        if below > left:
            rows = [row[row < middle] for row in rows]
            continue
        upto = _weights([row[row <= middle] for row in rows], units)
        if upto > left:
            return middle
        rows, left = [row[row > middle] for row in rows], left - upto


def _weights(rows: list[np.ndarray], units: list[int]) -> int:
    return sum(unit * row.size for unit, row in zip(units, rows, strict=True))
