"""N:M: of every m weights, or tiles of them, n stay."""

import re
from dataclasses import dataclass

import numpy as np

from qsparse.methods.patterns.base import PATTERNS, TILE, check_sparsity
from qsparse.methods.patterns.tiles import (
    check_block,
    expand_tiles,
    lowest_first,
    tile_misfit,
    tile_scores,
    zeros_of,
)
from qsparse.methods.validate import whole


@PATTERNS.register("nm")
@dataclass(frozen=True)
class NM:
    """N:M sparsity: of every `m` tiles along the inputs, `n` are **kept**.

    A tile is `block=(outputs, inputs)` weights: `NM(2, 4)` is fine-grained 2:4,
    `NM(1, 4, block=(4, 4))` keeps one of every four 4x4 blocks.

    N counts kept weights, as the paper, NVIDIA and JaxPruner do. TFMOT and
    SparseGPT count zeros: their "m_by_n=(2, 4)" is `NM(2, 4)`, but a SparseGPT
    "3:4" (three zeros) is `NM(1, 4)`.

    N:M becomes gradual by groups: at sparsity `s` below the final `f = 1 - n/m`,
    exactly `floor(s/f * groups + 0.5)` groups obey N:M and the others stay
    dense; the groups that lose the least score go first.

    Raises:
        ValueError: unless `1 <= n < m`.
    """

    n: int
    m: int
    block: tuple[int, int] = (1, 1)

    def __post_init__(self) -> None:
        n, m = whole("n", self.n), whole("m", self.m)
        if not 1 <= n < m:
            raise ValueError(
                "NM(n, m) keeps n of every m weights, so it needs 1 <= n < m. "
                f"Received: NM({n}, {m})"
                + (f"; did you mean NM({m}, {n})?" if 1 <= m < n else "")
            )
        object.__setattr__(self, "n", n)
        object.__setattr__(self, "m", m)
        object.__setattr__(self, "block", check_block(self.block, "block"))

    @property
    def tile(self) -> tuple[int, int]:
        """`(outputs, inputs)` of what is pruned together."""
        return self.block

    @classmethod
    def from_text(cls, text: str) -> "NM | None":
        """Returns the pattern of text like "2:4" or "1:4 of 4x4", or None.

        Raises:
            ValueError: if it is "nm", the name of the pattern without its numbers.
        """
        if text == "nm":
            raise ValueError(
                "Pattern 'nm' needs n and m: how many of every m weights stay. "
                'Write "2:4" or NM(2, 4).'
            )
        match = re.fullmatch(rf"(\d+):(\d+)(?: of {TILE})?", text)
        if match is None:
            return None
        n, m, *block = (int(part) for part in match.groups(default="1"))
        return cls(n, m, (block[0], block[1]))

    def mask(self, scores: np.ndarray, sparsity: float | None = None) -> np.ndarray:
        """Returns the mask at `sparsity` (None: all groups obey N:M)."""
        tiles = tile_scores(scores, self.block)
        taps, inputs, outputs = tiles.shape
        groups = tiles.reshape(taps, inputs // self.m, self.m, outputs)
        kept = _ranks(groups) < self.n
        final = 1.0 - self.n / self.m
        if sparsity is not None and sparsity < final:
            loss = np.where(kept, 0.0, groups).sum(axis=2, dtype=np.float64)
            obeying = lowest_first(loss, zeros_of(sparsity / final, loss.size))
            kept |= ~obeying[:, :, np.newaxis, :]
        return expand_tiles(kept.reshape(tiles.shape), self.block)

    def misfit(self, shape: tuple[int, int, int]) -> str | None:
        """The inputs must be divisible by m tiles, the outputs by one."""
        return tile_misfit(shape, self.block, self.m)

    def final_sparsity(self, sparsity: float | None) -> float:
        """Returns `1 - n/m`; any other requested sparsity is an error."""
        final = 1.0 - self.n / self.m
        if sparsity is None:
            return final
        if abs(check_sparsity(sparsity, str(self)) - final) > 1e-9:
            raise ValueError(
                f"{self} fixes the sparsity at {final:g}. Received: "
                f"sparsity={sparsity}. Leave `sparsity` out or choose another n, m."
            )
        return final

    def __str__(self) -> str:
        tile = "" if self.block == (1, 1) else f" of {self.block[0]}x{self.block[1]}"
        return f"{self.n}:{self.m}{tile}"


# Tiles of a group from which on to sort is faster than to compare pairs.
_SORTED_FROM = 256


def _ranks(groups: np.ndarray) -> np.ndarray:
    """Returns how many others of its group come before each tile: 0 for the best.

    Tiles of small groups are compared in pairs, which is faster than to sort; of a tie
    the lower index comes first.

    Args:
        groups: scores `(taps, groups, tiles of a group, outputs)`.
    """
    m = groups.shape[2]
    return _ranks_by_pairs(groups) if m < _SORTED_FROM else _ranks_by_sorting(groups)


def _ranks_by_sorting(groups: np.ndarray) -> np.ndarray:
    # Sorted from the end, upside down, so that a stable sort puts the lower index of a
    # tie last; negated, unsigned scores and the least integers would overflow.
    order = np.argsort(groups[:, :, ::-1], axis=2, kind="stable")[:, :, ::-1]
    places = groups.shape[2] - 1 - order
    ranks = np.empty_like(places)
    steps = np.arange(groups.shape[2]).reshape(1, 1, -1, 1)
    np.put_along_axis(ranks, places, np.broadcast_to(steps, places.shape), axis=2)
    return ranks


def _ranks_by_pairs(groups: np.ndarray) -> np.ndarray:
    m = groups.shape[2]
    ranks = np.zeros(groups.shape, np.min_scalar_type(m))
    for index in range(1, m):
        wins = groups[:, :, :index] >= groups[:, :, index : index + 1]
        ranks[:, :, :index] += ~wins
        ranks[:, :, index] += wins.sum(axis=2, dtype=ranks.dtype)
    return ranks
