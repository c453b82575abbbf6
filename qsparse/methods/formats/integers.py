"""Integers of 2 to 8 bits for weights, beside activations in int8."""

import re
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from keras import ops

from qsparse.methods.formats.base import FORMATS
from qsparse.methods.formats.int8 import Int8
from qsparse.methods.validate import whole


@FORMATS.register("int")
@dataclass(frozen=True)
class IntN(Int8):
    """Weights of a few bits; activations as of `Int8`.

    Symmetric, `scale = max|w| / largest` with `largest = 2^(bits - 1) - 1` steps to
    either side. An int8 file holds the few integers that there are, at their own scale,
    and so computes what was trained; it packs smaller, and is as fast. Half the size
    has a file with `dynamic_range=True, weight_bits=4`, which holds 4 bits exactly.

    Text like "int4" names it.

    Args:
        bits: 2 to 8.
        per_channel: whether each output channel has a scale of its own; else the
            kernel has one.

    Raises:
        ValueError: if `bits` is outside, or `per_channel` is no bool.
    """

    weights_only: ClassVar[bool] = True
    # "int8" is a format of its own.
    _text: ClassVar[str] = r"int(?!8$)(\d+)"

    bits: int = 4
    per_channel: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "bits", whole("bits", self.bits))
        if not 2 <= self.bits <= 8:
            raise ValueError(f"`bits` must be 2 to 8. Received: bits={self.bits}")
        if not isinstance(self.per_channel, bool):
            raise ValueError(
                "`per_channel` must be True or False. "
                f"Received: per_channel={self.per_channel!r}"
            )

    @classmethod
    def from_text(cls, text: str) -> "IntN | None":
        """Returns the format that a text names, or None."""
        match = re.fullmatch(cls._text, text)
        return None if match is None else cls(int(match[1]))

    @property
    def largest(self) -> int:
        """The largest integer; the least is its negative."""
        return 2 ** (self.bits - 1) - 1

    def fake(self, canonical: Any) -> Any:
        """Rounds weights to their grid; see `Format`."""
        axes = (0, 1) if self.per_channel else None
        return self.rounded(canonical, ops.max(ops.abs(canonical), axis=axes))

    def encode(self, canonical: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns `(q, scale)`, a scale for each output in any case; see `Format`."""
        largest = np.abs(canonical).max(axis=(0, 1) if self.per_channel else None)
        return self.coded(canonical, np.broadcast_to(largest, canonical.shape[2:]))

    def __str__(self) -> str:
        return f"int{self.bits}" + " per tensor" * (not self.per_channel)
