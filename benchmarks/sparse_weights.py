"""Random int8 weights whose zeros follow a pattern; imports nothing of the package."""

import numpy as np


def sparse_weights(
    shape: tuple[int, ...], pattern: str, density: float = 1.0, seed: int = 0
) -> np.ndarray:
    """Returns int8 weights of `shape` (outputs first, inputs last), zero by `pattern`.

    Args:
        shape: `(outputs, ..., inputs)`.
        pattern: "dense"; "RxC", random blocks of R outputs x C inputs; "N:M RxC",
            N blocks kept of every M along the inputs; "N:M", N weights kept of every
            M along the inputs; or "unstructured".
        density: chance of a block ("RxC") or a weight ("unstructured") to be kept.
        seed: of the values and of what is kept.
    """
    rng = np.random.default_rng(seed)
    weights = rng.integers(-127, 128, size=shape)
    weights[weights == 0] = 1
    if pattern == "dense":
        return weights.astype(np.int8)
    *balance, block = pattern.split()
    if ":" in block:
        balance, block = [block], "1x1"
    rows, columns = (1, 1) if block == "unstructured" else map(int, block.split("x"))
    outputs, inputs = shape[0], shape[-1]
    tiles = (-(-outputs // rows), *shape[1:-1], -(-inputs // columns))
    scores = rng.random(tiles)
    if balance:
        kept, of = map(int, balance[0].split(":"))
        runs = scores.reshape(*tiles[:-1], tiles[-1] // of, of)
        keep = (runs.argsort(-1).argsort(-1) < kept).reshape(tiles)
    else:
        keep = scores < density
    keep = keep.repeat(rows, axis=0).repeat(columns, axis=-1)
    return np.where(keep[:outputs, ..., :inputs], weights, 0).astype(np.int8)
