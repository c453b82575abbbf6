"""Totals: shares of layers that together are the sparsity that was asked for."""

from collections.abc import Callable, Sequence

import numpy as np

from qsparse.methods.allocations.base import Kernel


def shared_out(
    kernels: Sequence[Kernel],
    sparsity: float,
    share: Callable[[list[Kernel], float], Sequence[float]],
) -> list[float]:
    """Returns the sparsity of each kernel: what is fixed, and the rest shared out.

    Kernels whose sparsity is fixed count towards the total. Where they alone exceed
    it, the others stay dense; where the others cannot hold what is left, they go as
    far as they can. That is told where a recipe is attached.

    Args:
        kernels: all that are pruned.
        sparsity: share of zeros among all their weights, in [0, 1).
        share: gets the free kernels and how many zeros they are to have together, not
            negative; returns their sparsities.
    """
    free = [kernel for kernel in kernels if kernel.fixed is None]
    zeros = sparsity * sum(kernel.weights for kernel in kernels)
    zeros -= sum(k.fixed * k.weights for k in kernels if k.fixed is not None)
    shares = iter(share(free, max(zeros, 0.0)) if free else [])
    return [
        min(float(next(shares)), kernel.most) if kernel.fixed is None else kernel.fixed
        for kernel in kernels
    ]


def evenly(
    kernels: Sequence[Kernel], zeros: float, least: Sequence[float] | None = None
) -> list[float]:
    """Returns sparsities that are equal, or the most or least a kernel may have.

    Args:
        kernels: free ones, at least one.
        zeros: how many they have together.
        least: the least sparsity of each; None: 0.
    """
    most = [kernel.most for kernel in kernels]
    return level([1.0] * len(kernels), least or [0.0] * len(most), most, kernels, zeros)


def level(
    slopes: Sequence[float],
    low: Sequence[float],
    high: Sequence[float],
    kernels: Sequence[Kernel],
    total: float,
) -> list[float]:
    """Returns `clip(slope * x, low, high)` of each kernel, for the `x` of a total.

    The sum over kernels of their weights times these shares grows with `x` along
    straight lines between the ends of the clips; the line that holds the total is
    solved, so that it is exact. A total out of reach is taken as near as it goes.

    Args:
        slopes: positive.
        low: the least that each share may be.
        high: the greatest.
        kernels: what has these shares.
        total: how many weights the shares make together.
    """
    slope, least, greatest = (np.asarray(v, np.float64) for v in (slopes, low, high))
    weights = np.array([kernel.weights for kernel in kernels], np.float64)
    corners = np.unique(np.concatenate([least / slope, greatest / slope]))
    held = np.array(
        [weights @ np.clip(slope * corner, least, greatest) for corner in corners]
    )
    # Sums of floats may fall by a last bit where they should stay.
    x = np.interp(total, np.maximum.accumulate(held), corners)
    return [float(share) for share in np.clip(slope * x, least, greatest)]
