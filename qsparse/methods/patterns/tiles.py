"""Tiles: blocks of weights that are kept or pruned together, scored and selected."""

from typing import Any

import numpy as np

from qsparse.methods.validate import whole


def zeros_of(share: float, count: int) -> int:
    """Returns how many of `count` tiles are zero at a share of zeros."""
    return int(np.floor(share * count + 0.5))


def kept_tiles(tiles: np.ndarray, share: float) -> np.ndarray:
    """Marks the tiles to keep: the best of every output, and the best of the others.

    Args:
        tiles: float scores `(taps, inputs, outputs)` in units of tiles.
        share: how many to drop: exactly `floor(share * size + 0.5)`, or all but
            `outputs` where that is fewer.
    """
    outputs = tiles.shape[2]
    scores = tiles.reshape(-1, outputs).copy()
    scores[scores.argmax(axis=0), np.arange(outputs)] = np.inf
    count = min(zeros_of(share, scores.size), scores.size - outputs)
    return ~lowest(scores, count).reshape(tiles.shape)


def lowest(scores: np.ndarray, count: int) -> np.ndarray:
    """Returns a flat bool array marking exactly the `count` lowest scores.

    Selects instead of sorting: one partition finds the threshold, then the
    ties at the threshold are taken from the highest index down.
    """
    flat = scores.reshape(-1)
    chosen = np.zeros(flat.size, dtype=bool)
    if count == 0:
        return chosen
    threshold = _threshold(flat, count)
    chosen[flat < threshold] = True
    ties = np.flatnonzero(flat == threshold)
    chosen[ties[ties.size - (count - int(chosen.sum())) :]] = True
    return chosen


def _threshold(flat: np.ndarray, count: int) -> Any:
    """Returns the `count`-th lowest score."""
    # A partition is slow where most are equal, as all that is pruned already may be.
    least = flat.min()
    above = flat[flat > least]
    count -= flat.size - above.size
    return least if count <= 0 else np.partition(above, count - 1)[count - 1]


def tile_scores(scores: np.ndarray, block: tuple[int, int]) -> np.ndarray:
    """Sum scores over tiles of `block=(outputs, inputs)` weights, in float64.

    Tiles of one weight have its score: the very array is returned.
    """
    if block == (1, 1):
        return scores
    taps, inputs, outputs = scores.shape
    out, inp = block
    tiles = scores.reshape(taps, inputs // inp, inp, outputs // out, out)
    return tiles.sum(axis=2, dtype=np.float64).sum(axis=-1)


def expand_tiles(tiles: np.ndarray, block: tuple[int, int]) -> np.ndarray:
    """Repeats a tile mask back to weights; the inverse of `tile_scores`."""
    if block == (1, 1):
        return tiles
    out, inp = block
    return tiles.repeat(out, axis=2).repeat(inp, axis=1)


def tile_misfit(
    shape: tuple[int, int, int], block: tuple[int, int], m: int = 1
) -> str | None:
    """Returns why tiles cannot be laid on a canonical shape, or None.

    Args:
        shape: `(taps, inputs, outputs)`.
        block: `(outputs, inputs)` of a tile.
        m: how many tiles along the inputs make a group.
    """
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


def check_block(block: Any, name: str) -> tuple[int, int]:
    """Returns two lengths as ints.

    Raises:
        ValueError: if they are not two positive integers.
    """
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


def lowest_first(scores: np.ndarray, count: int) -> np.ndarray:
    """Marks the `count` lowest scores; of a tie the lower index is marked."""
    marked = lowest(scores.reshape(-1)[::-1], count)[::-1]
    return marked.reshape(scores.shape)
