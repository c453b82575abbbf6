"""Patterns: which weights of a kernel may be zero together.

Every pattern works on scores in canonical form `(taps, inputs, outputs)` (see
`qsparse.planning.layouts`): `inputs` is the reduction axis, along which groups run, and
`taps` are the kernel positions of a convolution. Masks are computed in numpy
on the host, so that they are equal, bit for bit, on every Keras backend.

Ties are broken by index: of two equal scores the one with the lower flat index
(C order) is kept. Counts are exact. No mask leaves an output without any weight: the
best tile of every tile of outputs stays, so that a small layer may end with fewer
zeros than asked for, and never with nothing else.
"""

import math
import re
from dataclasses import InitVar, dataclass
from numbers import Real
from typing import Any, Protocol

import numpy as np

from qsparse.methods.registry import Registry
from qsparse.methods.validate import real, whole


class Pattern(Protocol):
    """What the rest of qsparse needs to know of a pattern."""

    def mask(self, scores: np.ndarray, sparsity: float | None) -> np.ndarray:
        """Returns a mask.

        Args:
            scores: finite float scores `(taps, inputs, outputs)`.
            sparsity: share of zeros, above 0 and at most the final one. At 0
                everything is kept, and no pattern is asked.

        Returns:
            Bool array (True = kept) of the shape of `scores`; equal on every machine,
            whatever scores are equal.
        """

    def misfit(self, shape: tuple[int, int, int]) -> str | None:
        """Returns why the pattern cannot be laid on a canonical shape, or None."""

    def final_sparsity(self, sparsity: float | None) -> float:
        """Returns the sparsity in [0, 1) reached at the end of the schedule."""


_TILE = r"(\d+)x(\d+)"


class _Patterns(Registry):
    """Patterns also go by what they print: "4x4 blocks", "2:4", "2:4 of 4x4"."""

    def get(self, identifier: Any) -> Any:
        """Returns an instance from an instance, a name, text, or a dict.

        Raises:
            ValueError: if the identifier is none of these.
        """
        if isinstance(identifier, str):
            identifier = text = identifier.strip().lower()
            if match := re.fullmatch(rf"{_TILE}( blocks?)?", text):
                return Block((int(match[1]), int(match[2])))
            if match := re.fullmatch(rf"(\d+):(\d+)(?: of {_TILE})?", text):
                n, m, *block = (int(part) for part in match.groups(default="1"))
                return NM(n, m, (block[0], block[1]))
            if text == "nm":
                raise ValueError(
                    "Pattern 'nm' needs n and m: how many of every m weights stay. "
                    'Write "2:4" or NM(2, 4).'
                )
        if isinstance(identifier, Real):
            raise ValueError(
                f"Unknown pattern: {identifier!r} is a number. A share of zeros goes "
                f"to `sparsity`: write sparsity={identifier!r}."
            )
        return super().get(identifier)

    def _allowed(self) -> str:
        return super()._allowed() + ', or text like "4x4", "16x4", "2:4", "2:4 of 4x4"'


PATTERNS = _Patterns("pattern", ("mask", "misfit", "final_sparsity"))


def check_sparsity(sparsity: float | None, pattern: str) -> float:
    """Returns `sparsity` if it is a number in [0, 1), else raise."""
    share = math.nan
    hint = _percent_hint(sparsity)
    if sparsity is not None and not hint:
        share = real("sparsity", sparsity)
    if not 0.0 <= share < 1.0:
        raise ValueError(
            f"{pattern} needs `sparsity`, the share of zeros, in [0, 1). "
            f"Received: sparsity={sparsity!r}{hint}"
        )
    return share


def _percent_hint(sparsity: Any) -> str:
    """Returns what to write instead of "75%" or 75; empty for anything else."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*(%?)\s*", str(sparsity))
    if not match or not (match[2] or 1 < float(match[1]) < 100):
        return ""
    percent = float(match[1])
    return f". Write {percent / 100:g} for {percent:g}%"


def _zeros(share: float, count: int) -> int:
    return int(np.floor(share * count + 0.5))


def _kept(tiles: np.ndarray, share: float) -> np.ndarray:
    """Marks the tiles to keep: the best of every output, and the best of the others.

    Args:
        tiles: float scores `(taps, inputs, outputs)` in units of tiles.
        share: how many to drop: exactly `floor(share * size + 0.5)`, or all but
            `outputs` where that is fewer.
    """
    outputs = tiles.shape[2]
    scores = tiles.reshape(-1, outputs).copy()
    scores[scores.argmax(axis=0), np.arange(outputs)] = np.inf
    count = min(_zeros(share, scores.size), scores.size - outputs)
    return ~_lowest(scores, count).reshape(tiles.shape)


def _lowest(scores: np.ndarray, count: int) -> np.ndarray:
    """Returns a flat bool array marking exactly the `count` lowest scores.

    Selects instead of sorting: one partition finds the threshold, then the
    ties at the threshold are taken from the highest index down.
    """
    flat = scores.reshape(-1)
    chosen = np.zeros(flat.size, dtype=bool)
    if count == 0:
        return chosen
    threshold = np.partition(flat, count - 1)[count - 1]
    chosen[flat < threshold] = True
    ties = np.flatnonzero(flat == threshold)
    chosen[ties[ties.size - (count - int(chosen.sum())) :]] = True
    return chosen


def _tile_scores(scores: np.ndarray, block: tuple[int, int]) -> np.ndarray:
    """Sum scores over tiles of `block=(outputs, inputs)` weights, in float64.

    Tiles of one weight have its score: the very array is returned.
    """
    if block == (1, 1):
        return scores
    taps, inputs, outputs = scores.shape
    out, inp = block
    tiles = scores.reshape(taps, inputs // inp, inp, outputs // out, out)
    return tiles.sum(axis=2, dtype=np.float64).sum(axis=-1)


def _expand(tiles: np.ndarray, block: tuple[int, int]) -> np.ndarray:
    """Repeats a tile mask back to weights; the inverse of `_tile_scores`."""
    if block == (1, 1):
        return tiles
    out, inp = block
    return tiles.repeat(out, axis=2).repeat(inp, axis=1)


def _tile_misfit(
    shape: tuple[int, int, int], block: tuple[int, int], m: int = 1
) -> str | None:
    taps, inputs, outputs = shape
    out, inp = block
    if inputs % (inp * m):
        return f"{inputs} inputs are not divisible by {inp * m}"
    if outputs % out:
        return f"{outputs} outputs are not divisible by {out}"
    if taps * inputs == inp:
        each = f"{out} outputs have one {out}x{inp} block" if inp * out > 1 else ""
        return f"every {each or 'output has one weight'} only, which has to stay"
    return None


def _check_block(block: Any, name: str) -> tuple[int, int]:
    try:
        outputs, inputs = (whole(name, length) for length in block)
    except (TypeError, ValueError):
        outputs = inputs = 0
    if outputs < 1 or inputs < 1:
        raise ValueError(
            f"`{name}` must be two positive integers (outputs, inputs). "
            f"Received: {name}={block!r}"
        )
    return outputs, inputs


@PATTERNS.register("unstructured")
@dataclass(frozen=True)
class Unstructured:
    """Any weight may be zero.

    The kernels gain no speed from it; use it as the accuracy bound for the other
    patterns.
    """

    def mask(self, scores: np.ndarray, sparsity: float | None) -> np.ndarray:
        """Zeros exactly `floor(sparsity * size + 0.5)` lowest scores.

        Every output keeps its best weight, so never more than `size - outputs`.
        """
        return _kept(scores, check_sparsity(sparsity, "Unstructured()"))

    def misfit(self, shape: tuple[int, int, int]) -> str | None:
        """Fits every shape in which an output has more than one weight."""
        return _tile_misfit(shape, (1, 1))

    def final_sparsity(self, sparsity: float | None) -> float:
        """Returns the requested sparsity."""
        return check_sparsity(sparsity, "Unstructured()")

    def __str__(self) -> str:
        return "unstructured"


@PATTERNS.register("block")
@dataclass(frozen=True)
class Block:
    """Blocks of `shape=(outputs, inputs)` weights at one tap are zero together.

    `Block((4, 4))` is the pattern that the qsparse kernels run fastest.

    Raises:
        ValueError: if `shape` is not two positive integers.
    """

    shape: tuple[int, int] = (4, 4)
    more: InitVar[Any] = None

    def __post_init__(self, more: Any) -> None:
        if more is not None:
            raise ValueError(
                "Block takes one pair (outputs, inputs). "
                f"Received: Block({self.shape!r}, {more!r}). "
                f"Write Block(({self.shape!r}, {more!r}))."
            )
        object.__setattr__(self, "shape", _check_block(self.shape, "shape"))

    def mask(self, scores: np.ndarray, sparsity: float | None) -> np.ndarray:
        """Zeros exactly `floor(sparsity * blocks + 0.5)` blocks of lowest sum.

        Every `shape[0]` outputs keep their best block, so never more than
        `blocks - outputs / shape[0]`.
        """
        tiles = _tile_scores(scores, self.shape)
        return _expand(_kept(tiles, check_sparsity(sparsity, str(self))), self.shape)

    def misfit(self, shape: tuple[int, int, int]) -> str | None:
        """Both axes must be divisible by the block, and outputs have several."""
        return _tile_misfit(shape, self.shape)

    def final_sparsity(self, sparsity: float | None) -> float:
        """Returns the requested sparsity."""
        return check_sparsity(sparsity, str(self))

    def __str__(self) -> str:
        return f"{self.shape[0]}x{self.shape[1]} blocks"


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
        object.__setattr__(self, "block", _check_block(self.block, "block"))

    def mask(self, scores: np.ndarray, sparsity: float | None = None) -> np.ndarray:
        """Returns the mask at `sparsity` (None: all groups obey N:M)."""
        tiles = _tile_scores(scores, self.block)
        taps, inputs, outputs = tiles.shape
        groups = tiles.reshape(taps, inputs // self.m, self.m, outputs)
        kept = _ranks(groups) < self.n
        final = 1.0 - self.n / self.m
        if sparsity is not None and sparsity < final:
            loss = np.where(kept, 0.0, groups).sum(axis=2, dtype=np.float64)
            obeying = _lowest_first(loss, _zeros(sparsity / final, loss.size))
            kept |= ~obeying[:, :, np.newaxis, :]
        return _expand(kept.reshape(tiles.shape), self.block)

    def misfit(self, shape: tuple[int, int, int]) -> str | None:
        """The inputs must be divisible by m tiles, the outputs by one."""
        return _tile_misfit(shape, self.block, self.m)

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


def _lowest_first(scores: np.ndarray, count: int) -> np.ndarray:
    """Marks the `count` lowest scores; of a tie the lower index is marked."""
    marked = _lowest(scores.reshape(-1)[::-1], count)[::-1]
    return marked.reshape(scores.shape)
