"""Integers of few bits for weights and for activations."""

import re
from dataclasses import dataclass
from typing import Any, ClassVar

import keras
from keras import ops

from qsparse.methods.formats.base import FORMATS
from qsparse.methods.formats.integers import IntN
from qsparse.methods.validate import whole


@FORMATS.register("few-bits")
@dataclass(frozen=True)
class FewBits(IntN):
    """Weights as of `IntN`, beside activations of as few bits.

    An activation has `2^activations` levels between the ends of its range, which
    include zero, as int8 has 256. No file holds that: it shows what training in it
    would bring.

    Text like "a4w4" names it: 4 bits for activations, 4 for weights. As
    `Recipe(activations="a4w4")` it rounds activations only.

    Args:
        bits: of weights, 2 to 8.
        per_channel: as of `IntN`.
        activations: bits of activations, 2 to 7.

    Raises:
        ValueError: if one of them is outside, or `per_channel` is no bool.
    """

    exportable: ClassVar[bool] = False
    weights_only: ClassVar[bool] = False

    activations: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        bits = whole("activations", self.activations)
        object.__setattr__(self, "activations", bits)
        if not 2 <= bits <= 7:
            raise ValueError(
                "`activations` must be 2 to 7; other formats have more. "
                f"Received: activations={bits}"
            )

    @classmethod
    def from_text(cls, text: str) -> "FewBits | None":
        """Returns the format that a text names, or None."""
        match = re.fullmatch(r"a(\d)w(\d)", text)
        if match is None:
            return None
        return cls(int(match[2]), activations=int(match[1]))

    def fake_activations(self, inputs: Any, minimum: Any, maximum: Any) -> Any:
        """Rounds a tensor to few levels; see `Int8.fake_activations`."""
        quantized = keras.quantizers.fake_quant_with_min_max_vars(
            ops.cast(inputs, "float32"), minimum, maximum, num_bits=self.activations
        )
        return ops.cast(quantized, inputs.dtype)

    def __str__(self) -> str:
        return f"a{self.activations}w{self.bits}" + " per tensor" * (
            not self.per_channel
        )
