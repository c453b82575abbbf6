"""Recognises a sparsity pattern from the zeros alone."""

import numpy as np

_TALLER = (8, 16, 32)  # outputs of a block; it always spans four inputs
_GROUPS = (4, 8, 16, 32, 64)
_LEAST_SPARSITY = 0.05  # fewer zeros than this are weights that rounded to zero
_EXPLAINED = 0.9  # share of the zeros a pattern must account for


def detect_pattern(kept: np.ndarray) -> str:
    """Names the pattern of a mask.

    Args:
        kept: bool (outputs, taps, inputs), True where a weight is not zero. N:M groups
            and blocks run along the inputs; fully connected weights have one tap.

    Returns:
        e.g. "dense", "4x4 blocks", "1:4 of 4x4 blocks", "2:4" (N kept of M),
        "unstructured" or "all zero".
    """
    sparsity = 1 - kept.mean() if kept.size else 0.0
    if sparsity < _LEAST_SPARSITY:
        return "dense"
    if not kept.any():
        return "all zero"
    tiles = _tiles(kept, (4, 4))
    if tiles is None or 1 - tiles.mean() < _EXPLAINED * sparsity:
        return _balanced(kept, sparsity) or "unstructured"
    rows = 4
    for taller in _TALLER:
        larger = _tiles(kept, (taller, 4))
        if larger is not None and larger.mean() == tiles.mean():
            rows, tiles = taller, larger
    name = f"{rows}x4 blocks"
    balanced = _balanced(tiles, sparsity)
    return f"{balanced} of {name}" if balanced else name


def _tiles(kept: np.ndarray, block: tuple[int, int]) -> np.ndarray | None:
    """Returns which blocks hold any weight, (outputs, taps, inputs) in blocks."""
    outputs, taps, inputs = kept.shape
    if outputs % block[0] or inputs % block[1]:
        return None
    split = kept.reshape(
        outputs // block[0], block[0], taps, inputs // block[1], block[1]
    )
    return np.asarray(split.any(axis=(1, 4)))


def _balanced(kept: np.ndarray, sparsity: float) -> str | None:
    """Returns "N:M" if every M along the inputs keep at most N, as sparse as that."""
    inputs = kept.shape[-1]
    for size in _GROUPS:
        if inputs % size:
            return None
        groups = kept.reshape(-1, size).sum(axis=1)
        most = int(groups.max())
        if most < size and 1 - most / size >= _EXPLAINED * sparsity:
            return f"{most}:{size}"
    return None
