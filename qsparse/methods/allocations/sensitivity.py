"""Sensitivity: layers that bear it are pruned more, by measured numbers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from qsparse.methods.allocations.base import ALLOCATIONS, Kernel
from qsparse.methods.allocations.total import level, shared_out
from qsparse.methods.validate import real

Points = tuple[tuple[float, float], ...]


@ALLOCATIONS.register("sensitivity")
@dataclass(frozen=True)
class Sensitivity:
    """Shares out so that the measured harm of all layers together is least.

    Each layer has a curve: what pruning it alone costs at some sparsities, with no
    cost at 0, straight lines between, and the convex hull below them. Costs of layers
    are taken to add up. The cheapest stretches of all curves go first; those of equal
    cost go together. Beyond the last sparsity that was measured, where nothing is
    known, densities shrink in proportion, and only when all layers have come there. The
    rule is our own: of shares whose costs are convex and add up, these cost least.

    `qsparse.sensitivity(model, data).allocation` makes one.

    Args:
        curves: `((path, ((sparsity, cost), ...)), ...)`: what was measured of each
            layer, at sparsities in (0, 1). A cost below 0, or below one of a lower
            sparsity, is noise and counts as that one.

    Raises:
        ValueError: if the curves are not of that form, or a path is given twice.
    """

    curves: tuple[tuple[str, Points], ...]

    holds_total: ClassVar[bool] = True

    def __post_init__(self) -> None:
        try:
            found = [
                (path, [(x, y) for x, y in points]) for path, points in self.curves
            ]
        except (TypeError, ValueError):
            found = []
        if not found or len({path for path, _ in found}) < len(found):
            raise ValueError(
                "Sensitivity needs `curves`, ((path, ((sparsity, cost), ...)), ...), "
                f"each path once. Received: curves={self.curves!r}"
            )
        curves = tuple((str(path), _points(path, points)) for path, points in found)
        object.__setattr__(self, "curves", curves)

    def allocate(self, kernels: Sequence[Kernel], sparsity: float) -> list[float]:
        """Returns sparsities that make `sparsity` in total; see `Allocation`.

        Raises:
            ValueError: if a kernel was not measured.
        """
        return shared_out(kernels, sparsity, self._share)

    def _share(self, free: list[Kernel], zeros: float) -> list[float]:
        curves = dict(self.curves)
        lacking = [kernel.path for kernel in free if kernel.path not in curves]
        if lacking:
            raise ValueError(
                f"Sensitivity has no numbers of {', '.join(map(repr, lacking[:5]))}; "
                f"it has them of {', '.join(map(repr, list(curves)[:20]))}. Measure "
                "this model with this recipe's pattern (qsparse.sensitivity), or "
                "exclude these layers."
            )
        known = [_known(curves[kernel.path], kernel.most) for kernel in free]
        ends = [points[-1][0] for points in known]
        rest = zeros - sum(e * k.weights for e, k in zip(ends, free, strict=True))
        if rest > 0:
            kept = sum(kernel.weights for kernel in free) - zeros
            densities = [1.0 - end for end in ends]
            least = [1.0 - kernel.most for kernel in free]
            thin = level(densities, least, densities, free, kept)
            return [1.0 - density for density in thin]
        return _cheapest_first(free, known, zeros)


class _Stretch(NamedTuple):
    """A straight part of a layer's curve, from one sparsity to the next."""

    slope: float
    layer: int
    length: float


def _cheapest_first(
    kernels: Sequence[Kernel], curves: Sequence[Points], zeros: float
) -> list[float]:
    """Returns the sparsities that `zeros` make along the cheapest stretches.

    A slope is the cost of one more zero: a large layer brings more of them.
    """
    stretches = [
        _Stretch(slope / kernel.weights, i, length)
        for i, (kernel, points) in enumerate(zip(kernels, curves, strict=True))
        for slope, length in _hull(points)
    ]
    shares, left = [0.0] * len(kernels), zeros
    for slope in sorted({stretch.slope for stretch in stretches}):
        alike = [stretch for stretch in stretches if stretch.slope == slope]
        held = sum(s.length * kernels[s.layer].weights for s in alike)
        part = min(left / held, 1.0)
        for stretch in alike:
            shares[stretch.layer] += part * stretch.length
        left -= part * held
    return shares


def _hull(points: Points) -> Iterator[tuple[float, float]]:
    """Yields `(slope, length)` of the convex hull below points, from the left."""
    start = 0
    while start < len(points) - 1:
        x, y = points[start]
        slopes = [(b - y) / (a - x) for a, b in points[start + 1 :]]
        least = min(slopes)
        end = start + 1 + max(i for i, slope in enumerate(slopes) if slope == least)
        yield least, points[end][0] - x
        start = end


def _known(points: Points, most: float) -> Points:
    """Returns a curve from (0, 0) on, that never falls, as far as a kernel goes."""
    found = [(0.0, 0.0)]
    for sparsity, cost in points:
        x, y = found[-1]
        cost = max(cost, y)
        if sparsity > most:
            share = (most - x) / (sparsity - x)
            sparsity, cost = most, y + share * (cost - y)
        if sparsity > x:
            found.append((sparsity, cost))
    return tuple(found)


def _points(path: Any, points: list[tuple[Any, Any]]) -> Points:
    """Returns the points of a curve as floats, sorted."""
    name = f"curves of {path!r}"
    found = tuple(sorted((real(name, x), real(name, y)) for x, y in points))
    sparsities = [sparsity for sparsity, _ in found]
    distinct = len(set(sparsities)) == len(sparsities)
    if not found or not distinct or not 0 < sparsities[0] <= sparsities[-1] < 1:
        raise ValueError(
            f"Sensitivity needs sparsities in (0, 1), each once, for {path!r}. "
            f"Received: {points!r}"
        )
    return found
