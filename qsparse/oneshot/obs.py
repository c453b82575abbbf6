"""OBS: tile after tile goes, the cheapest first, and all others follow."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from qsparse.oneshot.base import ONE_SHOT, ranks, selected
from qsparse.oneshot.gram_score import gram_scores
from qsparse.oneshot.problem import Problem
from qsparse.oneshot.threads import for_systems


@ONE_SHOT.register("obs")
@dataclass(frozen=True)
class OBS:
    """Greedy elimination with exact updates (Frantar et al., OBC / ExactOBS, 2022).

    Of each row the tile B of least `w_B ([H^-1]_BB)^-1 w_B^T` goes, summed over the
    rows of a tile; then `w -= w_B ([H^-1]_BB)^-1 [H^-1]_B:` and `H^-1` loses B. N:M
    counts down each group. Otherwise each row is eliminated to its last tile, and the
    steps of all rows are taken in the order of their costs, as far as the sparsity
    goes; a step costs at least what the steps before it in its row did. Formulas are
    from secondary sources.

    It takes `columns^3` operations for each row of tiles, so it is for layers of some
    hundred columns (taps times inputs); `"sparsegpt"` is for those beyond.
    """

    refits: ClassVar[bool] = True

    def mask(self, problem: Problem, plan: Any) -> np.ndarray:
        """Returns which weights stay; a pattern without tiles is scored once."""
        pattern = plan.pattern
        tile = getattr(pattern, "tile", None)
        if tile is None:
            return pattern.mask(gram_scores(problem), plan.sparsity)
        grouped = hasattr(pattern, "m")
        group = pattern.m if grouped else problem.weights.shape[1] // tile[1]
        keep = pattern.n if grouped else 1
        costs, steps = _eliminated(problem, tile, group, keep)
        if grouped:
            return selected(problem, plan, (steps < 0).astype(float), tile)
        # Of a tie the earlier step of a row comes first.
        levels = np.unique(costs, return_inverse=True)[1].reshape(costs.shape)
        order = levels * (steps.max() + 2.0) + steps
        return selected(problem, plan, ranks(order, steps < 0), tile)


def _eliminated(
    problem: Problem, tile: tuple[int, int], group: int, keep: int
) -> tuple[np.ndarray, np.ndarray]:
    """Eliminates tiles until `keep` of every `group` along the columns are left.

    Returns:
        `(costs, steps)` of each tile, `(tile rows, tiles)`: what its step and those
        before it in its row cost at most, and which step it was; infinite and -1 for
        those that are left.
    """
    outputs, inputs = tile
    inverse = np.linalg.inv(problem.damped)
    weights = problem.weights.reshape(-1, outputs, problem.weights.shape[1])
    chunk = max(problem.memory // (3 * inverse.nbytes), 1)
    starts = range(0, len(weights), chunk)
    with for_systems(len(weights)):
        parts = [
            _eliminate(weights[at : at + chunk].copy(), inverse, inputs, group, keep)
            for at in starts
        ]
    costs, steps = (np.concatenate(part) for part in zip(*parts, strict=True))
    return costs, steps


def _eliminate(
    weights: np.ndarray, inverse: np.ndarray, width: int, group: int, keep: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns `_eliminated` of some rows of tiles.

    Args:
        weights: `(tile rows, outputs of a tile, columns)`; it is changed.
        inverse: `H^-1`.
        width: columns of a tile.
        group: tiles that share a counter.
        keep: tiles that are left of each.
    """
    rows, _, columns = weights.shape
    tiles = columns // width
    inverses = np.repeat(inverse[None], rows, axis=0)
    costs = np.full((rows, tiles), np.inf)
    steps = np.full((rows, tiles), -1)
    left = np.full((rows, tiles // group), group)
    highest = np.zeros(rows)
    every, within = np.arange(rows), np.arange(width)
    diagonal = np.arange(tiles)
    for step in range(tiles // group * (group - keep)):
        by_tiles = inverses.reshape(rows, tiles, width, tiles, width)
        blocks = by_tiles[:, diagonal, :, diagonal].swapaxes(0, 1)
        gone = steps >= 0
        blocks = np.where(gone[..., None, None], np.eye(width), blocks)
        own = weights.reshape(rows, -1, tiles, width).transpose(0, 2, 3, 1)
        scores = (np.linalg.solve(blocks, own) * own).sum(axis=(2, 3))
        scores[gone | (left.repeat(group, axis=1) <= keep)] = np.inf
        # Of a tie the lower index stays.
        chosen = tiles - 1 - scores[:, ::-1].argmin(axis=1)
        highest = np.maximum(highest, scores[every, chosen])
        costs[every, chosen], steps[every, chosen] = highest, step
        left[every, chosen // group] -= 1
        at = chosen[:, None] * width + within
        pulled = inverses[every[:, None], at]
        block = blocks[every, chosen]
        follow = np.linalg.solve(block, pulled)
        places = np.broadcast_to(at[:, None], (rows, weights.shape[1], width))
        weights -= np.take_along_axis(weights, places, axis=2) @ follow
        np.put_along_axis(weights, places, 0.0, axis=2)
        inverses -= pulled.swapaxes(1, 2) @ follow
    return costs, steps
