"""Integers in blocks, each with a scale of its own."""

from dataclasses import dataclass
from typing import Any

from keras import ops

from qsparse.methods.formats.base import FORMATS
from qsparse.methods.formats.blockwise import Blockwise
from qsparse.methods.validate import whole


@FORMATS.register("block-int")
@dataclass(frozen=True)
class BlockInt(Blockwise):
    """Integers in blocks, each with a scale of its own.

    Symmetric, with `m` for the greatest size in a block and `L = 2^(bits - 1) - 1`:

        scale = m / L,                 x' = scale * round(x / scale)

    Asymmetric, with `low <= 0 <= high` for the least and the greatest number, as the
    code of "Effective Interplay between Sparsity and Quantization" has it for 4 bits:

        scale = (high - low) / (2^bits - 1),  zero = round(-low / scale)
        x'    = scale * (clip(round(x / scale) + zero, 0, 2^bits - 1) - zero)

    Args:
        bits: 2 to 8.
        symmetric: whether the grid reaches as far below zero as above.
        block: how many numbers share a scale, positive; as many as there are inputs
            for one scale for each output.
        rounding, seed: as of `Blockwise`.

    Raises:
        ValueError: if one of them is outside, or `symmetric` is no bool.
    """

    bits: int = 4
    symmetric: bool = True
    block: int = 32
    rounding: str = "nearest"
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "bits", whole("bits", self.bits))
        if not 2 <= self.bits <= 8:
            raise ValueError(f"`bits` must be 2 to 8. Received: bits={self.bits}")
        if not isinstance(self.symmetric, bool):
            raise ValueError(
                "`symmetric` must be True or False. "
                f"Received: symmetric={self.symmetric!r}"
            )

    def coded(self, blocks: Any) -> tuple[Any, Any]:
        """Returns `(integers, scales)`; integers are 0 where numbers are."""
        if self.symmetric:
            most = ops.max(ops.abs(blocks), axis=-1, keepdims=True)
            largest = 2 ** (self.bits - 1) - 1
            scales = _not_zero(most / largest)
            # The greatest may be a last bit more than `largest` scales.
            integers = self.whole_numbers(blocks / scales, blocks)
            return ops.clip(integers, -largest, largest), scales
        low = ops.minimum(ops.min(blocks, axis=-1, keepdims=True), 0.0)
        high = ops.maximum(ops.max(blocks, axis=-1, keepdims=True), 0.0)
        largest = 2**self.bits - 1
        scales = _not_zero((high - low) / largest)
        zeros = ops.round(-low / scales)
        integers = self.whole_numbers(blocks / scales, blocks)
        return ops.clip(integers + zeros, 0, largest) - zeros, scales

    def __str__(self) -> str:
        kind = "" if self.symmetric else "asymmetric "
        seed = f" (seed {self.seed})" * (self.seed != 0)
        return f"{kind}int{self.bits}{self.how} in blocks of {self.block}{seed}"


def _not_zero(scales: Any) -> Any:
    return ops.where(scales > 0, scales, ops.ones_like(scales))
