"""Block Fisher: what the loss would grow by, were the neighbours to make up for it."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from qsparse.methods.criteria.base import CRITERIA
from qsparse.methods.validate import real, whole

# Numbers of the inverse that are worked on at once, if an output has no more: 2 MiB,
# which a cache holds.
_AT_ONCE = 1 << 18


@CRITERIA.register("block-fisher")
@dataclass(frozen=True)
class BlockFisher:
    """Scores weights by blocks of the empirical Fisher matrix, as oBERT does.

    `F = damp * I + 1/m * sum of g g^T` over the gradients of `m` batches of
    `score_data`, of which only blocks of neighbouring weights are looked at: `block`
    of one output, over its inputs, then its taps. The score is what the loss would grow
    by without a weight, to second order, if the other weights of its block made up for
    it as well as they can: `w^2 / (2 [F^-1]_ii)`, and for a tile `Q`
    `1/2 w_Q^T ([F^-1]_QQ)^-1 w_Q` (Kurtic et al., "The optimal BERT surgeon", 2022).
    The weights that stay are not moved: training goes on and moves them.

    Memory: one layer's gradients, `m * weights` floats, where many small layers go
    together; the inverse is made in small parts. A few hundred batches are a good `m`;
    `tf.data` makes them as small as wanted.

    Args:
        block: weights of a block, positive; where the pattern has tiles, as many whole
            ones as fit, and at least one.
        damp: what is added to the diagonal, positive.

    Raises:
        ValueError: if a number is out of its range.
    """

    needs: ClassVar[tuple[str, ...]] = ("batch_gradients", "tile")

    block: int = 50
    damp: float = 1e-7

    def __post_init__(self) -> None:
        object.__setattr__(self, "block", whole("block", self.block))
        object.__setattr__(self, "damp", real("damp", self.damp))
        if self.block < 1 or self.damp <= 0:
            raise ValueError(
                "BlockFisher needs block >= 1 and damp > 0. "
                f"Received: block={self.block}, damp={self.damp}"
            )

    def score(
        self, weights: np.ndarray, batch_gradients: np.ndarray, tile: tuple[int, int]
    ) -> np.ndarray:
        """Returns each weight's share of the score of its tile, float64.

        A tile of one weight has its score; of several, each has
        `1/2 w_i (([F^-1]_QQ)^-1 w_Q)_i`, which may be negative, and their sum counts.

        Args:
            weights: float32 `(taps, inputs, outputs)`.
            batch_gradients: float32 `(batches, taps, inputs, outputs)`.
            tile: `(outputs, inputs)` that are pruned together.
        """
        (out, inp), (taps, inputs, outputs) = tile, weights.shape
        tiles = max(self.block // (out * inp), 1)
        blocks = -(-taps * inputs // (inp * tiles))
        step = out * max(_AT_ONCE // (blocks * (tiles * out * inp) ** 2), 1)
        scores = np.empty(weights.shape)
        for start in range(0, outputs, step):
            part = np.s_[..., start : start + step]
            rows = _in_blocks(weights[part].astype(np.float64), tile, tiles)
            inverse = self._inverse(_in_blocks(batch_gradients[part], tile, tiles))
            shares = _shares(rows, inverse, out * inp)
            scores[part] = _from_blocks(shares, weights[part].shape, tile)
        return scores

    def _inverse(self, gradients: np.ndarray) -> np.ndarray:
        """Returns `F^-1` of blocks, one rank-one update for each gradient (Woodbury).

        Args:
            gradients: float32 `(batches, blocks, weights)`.
        """
        count, blocks, weights = gradients.shape
        inverse = np.zeros((blocks, weights, weights))
        inverse[:, range(weights), range(weights)] = 1.0 / self.damp
        for gradient in gradients.astype(np.float64):
            v = (inverse @ gradient[..., np.newaxis])[..., 0]
            v /= np.sqrt(count + (gradient * v).sum(axis=1, keepdims=True))
            inverse -= v[:, :, np.newaxis] * v[:, np.newaxis, :]
        return inverse


def _shares(rows: np.ndarray, inverse: np.ndarray, size: int) -> np.ndarray:
    """Returns the score of each weight `(blocks, weights)`, a tile being `size`."""
    blocks, weights = rows.shape
    tiles = weights // size
    grid = inverse.reshape(blocks, tiles, size, tiles, size)
    own = grid[:, range(tiles), :, range(tiles)].swapaxes(0, 1)
    parts = rows.reshape(blocks, tiles, size, 1)
    return (parts * np.linalg.solve(own, parts) / 2).reshape(blocks, weights)


def _in_blocks(values: np.ndarray, tile: tuple[int, int], tiles: int) -> np.ndarray:
    """Returns `(..., blocks, weights of a block)` of `(..., taps, inputs, outputs)`.

    The last block of an output is filled up with zeros: weights without a gradient,
    which change nothing for the others.
    """
    *more, taps, inputs, outputs = values.shape
    out, inp = tile
    split = values.reshape(*more, taps, inputs // inp, inp, outputs // out, out)
    first = len(more)
    order = [first + axis for axis in (3, 0, 1, 4, 2)]
    moved = split.transpose(*range(first), *order)
    rows = moved.reshape(*more, outputs // out, taps * inputs // inp, out * inp)
    lacking = -rows.shape[-2] % tiles
    padding = [(0, 0)] * (first + 1) + [(0, lacking), (0, 0)]
    return np.pad(rows, padding).reshape(*more, -1, tiles * out * inp)


def _from_blocks(
    blocks: np.ndarray, shape: tuple[int, ...], tile: tuple[int, int]
) -> np.ndarray:
    """Returns `(taps, inputs, outputs)`; the inverse of `_in_blocks`."""
    taps, inputs, outputs = shape
    out, inp = tile
    count = taps * inputs // inp
    rows = blocks.reshape(outputs // out, -1, out * inp)[:, :count]
    split = rows.reshape(outputs // out, taps, inputs // inp, out, inp)
    return split.transpose(1, 2, 4, 0, 3).reshape(shape)
