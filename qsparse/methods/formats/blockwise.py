"""What formats have in common whose scales are those of blocks."""

from typing import Any, ClassVar

import numpy as np
from keras import ops

from qsparse.methods.estimators import straight_through
from qsparse.methods.formats.blocks import (
    ROUNDINGS,
    as_array,
    by_blocks,
    noise,
    summed_over,
)
from qsparse.methods.validate import whole


class Blockwise:
    """A format that scales blocks of numbers by their greatest, whatever came before.

    Blocks of weights run along the inputs that products add up over, and those of
    activations along their last axis, which are the features if data is not
    "channels_first". Ranges only say whether there is anything to round: each block of
    each sample has its own scale. No file holds such numbers: they show what
    training in them would bring.

    Attributes:
        block: how many numbers share a scale, positive; a field of each format, as
            those that follow.
        rounding: "nearest", ties to even, or "stochastic": up with a probability that
            is the distance from below, so that errors are zero on the mean. Numbers of
            the format stay what they are. How a sample is rounded depends on its place
            in the batch.
        seed: of stochastic rounding, in [0, 2^32); see `noise`.
    """

    exportable: ClassVar[bool] = False
    activation_bits: ClassVar[int] = 8
    blockwise: ClassVar[bool] = True
    equal_steps: ClassVar[bool] = True
    weights_only: ClassVar[bool] = False

    block: int
    rounding: str
    seed: int

    def __post_init__(self) -> None:
        if self.rounding not in ROUNDINGS:
            raise ValueError(
                f"`rounding` must be one of {', '.join(ROUNDINGS)}. Received: "
                f"rounding={self.rounding!r}"
            )
        object.__setattr__(self, "seed", whole("seed", self.seed))
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"`seed` must be in [0, 2^32). Received: seed={self.seed}")
        object.__setattr__(self, "block", whole("block", self.block))
        if self.block < 1:
            raise ValueError(f"`block` must be positive. Received: block={self.block}")

    @property
    def in_blocks(self) -> str:
        """What a name ends with where blocks are not as long as usual."""
        usual = type(self).block
        blocks = "" if self.block == usual else f" in blocks of {self.block}"
        return blocks + f" (seed {self.seed})" * (self.seed != 0)

    @property
    def how(self) -> str:
        """What a name has after the bits where numbers are not rounded to nearest."""
        return f"-{self.rounding}" * (self.rounding != "nearest")

    def whole_numbers(self, scaled: Any, numbers: Any) -> Any:
        """Returns multiples of a scale `(..., blocks, block)` as whole ones.

        Args:
            scaled: the multiples.
            numbers: what they are multiples of a scale of. Noise is a hash of these:
                how a backend divides shows in the last bit of `scaled`.
        """
        if self.rounding == "nearest":
            return ops.round(scaled)
        below = ops.floor(scaled)
        up = noise(numbers, self.seed) < scaled - below
        return below + ops.cast(up, "float32")

    def coded(self, blocks: Any) -> tuple[Any, Any]:
        """Returns numbers of blocks, rounded, as multiples of their scales.

        Args:
            blocks: float32 `(..., block)`.

        Returns:
            `(codes, scales)`, float32 `(..., block)` and `(..., 1)`; no scale is 0.
        """
        raise NotImplementedError

    def rounded(self, values: Any, axis: int) -> Any:
        """Returns a tensor rounded to the format.

        Args:
            values: float tensor.
            axis: that blocks run along.
        """

        def change(blocks: Any) -> Any:
            codes, scales = self.coded(blocks)
            return codes * scales

        return by_blocks(values, axis, self.block, change)

    def fake(self, canonical: Any) -> Any:
        """Rounds weights; see `Format`."""
        return self.rounded(canonical, summed_over(canonical))

    def encode(self, canonical: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns `(codes, scale)` of weights, both float32 of their shape."""
        axis = summed_over(canonical)

        def all_of(part: int) -> np.ndarray:
            def change(blocks: Any) -> Any:
                found = self.coded(blocks)[part]
                return ops.broadcast_to(found, ops.shape(blocks))

            return as_array(by_blocks(canonical, axis, self.block, change))

        return all_of(0), all_of(1)

    def decode(self, codes: np.ndarray, scale: np.ndarray) -> np.ndarray:
        """Returns `codes * scale`, float32 `(taps, inputs, outputs)`."""
        return codes * scale

    def fake_activations(self, inputs: Any, minimum: Any, maximum: Any) -> Any:
        """Rounds activations, whatever the limits; the gradient passes through."""
        return straight_through(inputs, self.rounded(ops.stop_gradient(inputs), -1))
