"""SparseGPT: one sweep over the columns decides, and what is behind it stays."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from qsparse.methods.patterns.tiles import lowest, zeros_of
from qsparse.methods.validate import whole
from qsparse.oneshot.base import ONE_SHOT, ranks, selected
from qsparse.oneshot.gram_score import gram_scores
from qsparse.oneshot.problem import Problem


@ONE_SHOT.register("sparsegpt")
@dataclass(frozen=True)
class SparseGPT:
    """The sweep of SparseGPT (Frantar and Alistarh, 2023), for layers of any size.

    With `H = R R^T`, R upper triangular, dropping the tile B while the columns after it
    are free to follow costs `||w_B R_BB||^2`; that is `w^2 / U_jj^2` for one weight,
    with the `H^-1 = U^T U` of the paper. Blocks of columns, and groups of N:M, decide
    one after the other, each with its weights moved to make up for what was dropped
    before. All rows share R. Formulas are from secondary sources.

    Args:
        width: columns that decide together where no group says so: each such block has
            the same share of zeros.

    Raises:
        ValueError: if `width` is not positive.
    """

    width: int = 128

    refits: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "width", whole("width", self.width))
        if self.width < 1:
            raise ValueError(f"`width` must be positive. Received: {self.width}")

    def mask(self, problem: Problem, plan: Any) -> np.ndarray:
        """Returns which weights stay; a pattern without tiles is scored once."""
        pattern = plan.pattern
        tile = getattr(pattern, "tile", None)
        if tile is None:
            return pattern.mask(gram_scores(problem), plan.sparsity)
        outputs, inputs = tile
        grouped = hasattr(pattern, "m")
        tiles = pattern.m if grouped else max(self.width // inputs, 1)
        rows, columns = problem.weights.shape
        scores = np.zeros((rows // outputs, columns // inputs))
        kept = np.ones(scores.shape, bool)
        # As the lower factor of H turned by half a turn, and that turned back.
        factor = np.linalg.cholesky(problem.damped[::-1, ::-1])[::-1, ::-1]
        dropped = np.zeros_like(problem.weights)
        zeros = 0
        for first in range(0, scores.shape[1], tiles):
            last = min(first + tiles, scores.shape[1])
            at = slice(first * inputs, last * inputs)
            current = _moved(problem, factor, dropped, at)
            found = _costs(current, factor[at, at], outputs, inputs)
            if grouped:
                going = np.argsort(found, axis=1, kind="stable")[:, : tiles - pattern.n]
                stays = np.ones(found.shape, bool)
                np.put_along_axis(stays, going, False, axis=1)
            else:
                goal = zeros_of(plan.sparsity, kept[:, :last].size)
                stays = ~lowest(found, goal - zeros).reshape(found.shape)
                zeros = goal
            scores[:, first:last], kept[:, first:last] = found, stays
            weights = stays.repeat(outputs, axis=0).repeat(inputs, axis=1)
            dropped[:, at] = _dropped(problem, factor, dropped, at, weights)
        if grouped:
            return selected(problem, plan, kept.astype(float), tile)
        return selected(problem, plan, ranks(scores, kept), tile)


def _moved(
    problem: Problem, factor: np.ndarray, dropped: np.ndarray, at: slice
) -> np.ndarray:
    """Returns the weights of some columns as those before have moved them.

    Args:
        problem: the layer's.
        factor: R.
        dropped: `W - W'`, of the columns before `at`.
        at: the columns.
    """
    pull = dropped[:, : at.start] @ factor[: at.start, at]
    return problem.weights[:, at] + np.linalg.solve(factor[at, at].T, pull.T).T


def _costs(
    current: np.ndarray, factor: np.ndarray, outputs: int, inputs: int
) -> np.ndarray:
    """Returns what it costs to drop each tile, `(tile rows, tiles)`."""
    tiles = current.shape[1] // inputs
    at = np.arange(tiles)
    blocks = factor.reshape(tiles, inputs, tiles, inputs)[at, :, at]
    pieces = current.reshape(-1, tiles, inputs).swapaxes(0, 1) @ blocks
    costs = (pieces**2).sum(axis=2).T
    return costs.reshape(-1, outputs, tiles).sum(axis=1)


def _dropped(
    problem: Problem,
    factor: np.ndarray,
    dropped: np.ndarray,
    at: slice,
    kept: np.ndarray,
) -> np.ndarray:
    """Returns `W - W'` of some columns, whose kept weights follow those before them."""
    block, own = factor[at, at], problem.weights[:, at]
    pull = dropped[:, : at.start] @ factor[: at.start, at]
    found = np.zeros_like(own)
    for j in range(own.shape[1]):
        moved = (pull[:, j] + found[:, :j] @ block[:j, j]) / block[j, j]
        found[:, j] = np.where(kept[:, j], -moved, own[:, j])
    return found
