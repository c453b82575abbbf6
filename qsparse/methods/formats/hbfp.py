"""Hybrid block floating point (HBFP): integers in blocks of a shared exponent."""

import re
from dataclasses import dataclass
from typing import Any

from keras import ops

from qsparse.methods.formats.base import FORMATS
from qsparse.methods.formats.blocks import power_below
from qsparse.methods.formats.blockwise import Blockwise
from qsparse.methods.validate import whole

# What the paper's code adds to the greatest number of a block.
_EPSILON = 1e-8


@FORMATS.register("hbfp")
@dataclass(frozen=True)
class HBFP(Blockwise):
    """Integers in blocks that share an exponent (Drumond et al., 2018).

    As the code of "Effective Interplay between Sparsity and Quantization" has it. With
    `m` for the greatest size in a block:

        e     = ceil(log2(m + 1e-8))
        scale = 2^(e - (bits - 1))
        x'    = scale * clip(round(x / scale), -L, L),  L = 2^(bits - 1) - 1

    to nearest, ties to even; there it is stochastic.

    Text like "hbfp8" and "hbfp6-stochastic" names it.

    Args:
        bits: 2 to 16, with the sign.
        block: how many numbers share an exponent, positive.
        rounding, seed: as of `Blockwise`.

    Raises:
        ValueError: if one of them is outside.
    """

    bits: int = 8
    block: int = 64
    rounding: str = "nearest"
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "bits", whole("bits", self.bits))
        if not 2 <= self.bits <= 16:
            raise ValueError(f"`bits` must be 2 to 16. Received: bits={self.bits}")

    @classmethod
    def from_text(cls, text: str) -> "HBFP | None":
        """Returns the format that a text names, or None."""
        match = re.fullmatch(r"hbfp(\d+)(?:-(stochastic))?", text)
        if match is None:
            return None
        return cls(int(match[1]), rounding=match[2] or "nearest")

    def coded(self, blocks: Any) -> tuple[Any, Any]:
        """Returns `(integers, scales)`."""
        most = ops.max(ops.abs(blocks), axis=-1, keepdims=True) + _EPSILON
        below = power_below(most)
        steps = below * 2.0 ** (1 - self.bits)  # which 2 * below may be too large for
        scales = ops.where(most > below, 2.0 * steps, steps)
        largest = 2.0 ** (self.bits - 1) - 1
        integers = self.whole_numbers(blocks / scales, blocks)
        return ops.clip(integers, -largest, largest), scales

    def __str__(self) -> str:
        return f"hbfp{self.bits}{self.how}{self.in_blocks}"
