"""Blocks of weights that are zero together."""

import re
from dataclasses import InitVar, dataclass
from typing import Any

import numpy as np

from qsparse.methods.patterns.base import PATTERNS, TILE, check_sparsity
from qsparse.methods.patterns.tiles import (
    check_block,
    expand_tiles,
    kept_tiles,
    tile_misfit,
    tile_scores,
)


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
        object.__setattr__(self, "shape", check_block(self.shape, "shape"))

    @property
    def tile(self) -> tuple[int, int]:
        """`(outputs, inputs)` of what is pruned together."""
        return self.shape

    @classmethod
    def from_text(cls, text: str) -> "Block | None":
        """Returns the pattern of text like "16x4" or "16x4 blocks", or None."""
        match = re.fullmatch(rf"{TILE}( blocks?)?", text)
        return cls((int(match[1]), int(match[2]))) if match else None

    def mask(self, scores: np.ndarray, sparsity: float | None) -> np.ndarray:
        """Zeros exactly `floor(sparsity * blocks + 0.5)` blocks of lowest sum.

        Every `shape[0]` outputs keep their best block, so never more than
        `blocks - outputs / shape[0]`.
        """
        tiles = tile_scores(scores, self.shape)
        return expand_tiles(
            kept_tiles(tiles, check_sparsity(sparsity, str(self))), self.shape
        )

    def misfit(self, shape: tuple[int, int, int]) -> str | None:
        """Both axes must be divisible by the block, and outputs have several."""
        return tile_misfit(shape, self.shape)

    def final_sparsity(self, sparsity: float | None) -> float:
        """Returns the requested sparsity."""
        return check_sparsity(sparsity, str(self))

    def __str__(self) -> str:
        return f"{self.shape[0]}x{self.shape[1]} blocks"
