"""What a format is."""

import re
from typing import Any, ClassVar, Protocol

import numpy as np

from qsparse.methods.registry import Registry


class Format(Protocol):
    """What the compressor asks of a format."""

    exportable: ClassVar[bool]
    """Whether `qsparse.export` can write it."""

    activation_bits: ClassVar[int]
    """Bits of the activations in a file, 8 or 16; 8 where a format does not say."""

    def fake(self, weights: Any, reduced_axes: tuple[int, ...]) -> Any:
        """Returns weights rounded to the format, as floats.

        Args:
            weights: float tensor of a kernel's shape.
            reduced_axes: axes over which one output channel's scale is shared.

        Returns:
            Tensor of the same shape and dtype. Zeros stay zero.
        """

    def encode(self, canonical: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns `(codes, scale)` of float32 weights `(taps, inputs, outputs)`."""

    def decode(self, codes: np.ndarray, scale: np.ndarray) -> np.ndarray:
        """Returns what `encode` took, rounded: what `fake` returns, bit for bit."""

    def fake_activations(self, inputs: Any, minimum: Any, maximum: Any) -> Any:
        """Returns a tensor rounded to the format between two limits around zero."""


class Formats(Registry):
    """Formats also go by text: "int4", "learned-int4" are integers of so many bits."""

    def get(self, identifier: Any) -> Any:
        """Returns an instance from an instance, a name, text, or a dict.

        Raises:
            ValueError: if the identifier is none of these.
        """
        if isinstance(identifier, str) and identifier not in self.classes:
            match = re.fullmatch(r"(int|learned-int)(\d+)", identifier.strip().lower())
            if match is not None:
                identifier = {"name": match[1], "bits": int(match[2])}
        return super().get(identifier)


FORMATS = Formats("format", ("fake", "encode", "decode", "fake_activations"))


def name_of(format: Any) -> str:
    """Returns what people call a format: what it prints, or the name it goes by."""
    own = "__str__" in vars(type(format))
    return str(format) if own else FORMATS.to_dict(format)["name"]
