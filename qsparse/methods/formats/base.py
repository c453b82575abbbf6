"""What a format is."""

from typing import Any, ClassVar, Protocol

import numpy as np

from qsparse.methods.registry import Registry


class Format(Protocol):
    """What the compressor asks of a format."""

    exportable: ClassVar[bool]
    """Whether `qsparse.export` can write it."""

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


FORMATS = Registry("format", ("fake", "encode", "decode", "fake_activations"))
