"""A sparse array as a bitmap of its tiles and the contents of those not all zero.

Both are plain bytes, which an entropy coder shrinks further. It needs no formula for
the pattern: two of every four positions kept make 36 different bytes in the bitmap,
which cost 0.65 bits a position where the least possible is 0.646.
"""

from dataclasses import dataclass

import numpy as np

from qsparse.tflite_export.files.constants import Constant

# (rows, columns): single weights, and the blocks that pruning and kernels use.
TILES = ((1, 1), (1, 4), (1, 16), (4, 1), (4, 4), (8, 4), (16, 4), (32, 4))
Tile = tuple[int, int]


@dataclass(frozen=True)
class Tiled:
    """An array cut into tiles.

    Attributes:
        tile: rows and columns of a tile.
        kept: bool, one per tile, row by row: whether any byte of it is not zero.
        values: uint8 `(width, kept elements)`, the kept tiles one after another, each
            row by row. Bytes of equal significance stand together: the exponents of
            floats resemble each other, their other bytes nothing.
    """

    tile: Tile
    kept: np.ndarray
    values: np.ndarray

    @property
    def bitmap(self) -> np.ndarray:
        """`kept` in bits, the first in the highest; uint8."""
        return np.packbits(self.kept)

    @property
    def cost(self) -> float:
        """Bytes it will take after entropy coding, estimated."""
        return entropy(self.bitmap) + sum(entropy(plane) for plane in self.values)


def entropy(values: np.ndarray) -> float:
    """Returns the bytes that uint8 values take if each is coded by its frequency.

    As in a Huffman code, no value takes less than a bit, unless there is no other.
    Without this, most zeros would seem to cost nothing where they stand.
    """
    counts = np.bincount(values)
    counts = counts[counts > 0]
    if counts.size < 2:
        return 0.0
    bits = np.maximum(-np.log2(counts / values.size), 1)
    return float((counts * bits).sum() / 8)


def tile_count(constant: Constant, tile: Tile) -> int:
    """Returns the tiles of an array; 0 if it cannot be cut into whole ones."""
    rows, columns = constant.rows, constant.columns
    if rows % tile[0] or columns % tile[1]:
        return 0
    return (rows // tile[0]) * (columns // tile[1])


def cut(data: np.ndarray, constant: Constant, tile: Tile) -> Tiled:
    """Cuts an array into tiles.

    Args:
        data: uint8 `(constant.size,)`.
        constant: the shape of the array.
        tile: rows and columns of a tile; whole tiles must fill the array.
    """
    rows, columns = constant.rows // tile[0], constant.columns // tile[1]
    grid = data.reshape(rows, tile[0], columns, tile[1] * constant.width)
    tiles = grid.transpose(0, 2, 1, 3).reshape(rows * columns, -1)
    kept = np.asarray(tiles.any(axis=1))
    values = tiles[kept].reshape(-1, constant.width)
    return Tiled(tile, kept, np.ascontiguousarray(values.T))


def join(tiled: Tiled, constant: Constant) -> np.ndarray:
    """Returns the uint8 `(constant.size,)` that `cut` was given."""
    tile = tiled.tile
    rows, columns = constant.rows // tile[0], constant.columns // tile[1]
    tiles = np.zeros((rows * columns, tile[0] * tile[1] * constant.width), np.uint8)
    tiles[tiled.kept] = tiled.values.T.reshape(-1, tiles.shape[1])
    grid = tiles.reshape(rows, columns, tile[0], tile[1] * constant.width)
    return grid.transpose(0, 2, 1, 3).reshape(-1)
