"""What a format is."""

from typing import Any, ClassVar, Protocol

import numpy as np

from qsparse.methods.registry import Registry


class Format(Protocol):
    """What the compressor asks of a format."""

    exportable: ClassVar[bool]
    """Whether `qsparse.export` can write it."""

    activation_bits: ClassVar[int]
    """Bits of the activations in a file, 8 or 16; 8 where a format does not say."""

    weights_only: ClassVar[bool]
    """Whether activations beside it are int8; False if it does not say."""

    equal_steps: ClassVar[bool]
    """Whether numbers of one scale are equally far apart; True if it does not say."""

    blockwise: ClassVar[bool]
    """Whether scales belong to blocks, not to outputs; False if it does not say."""

    def fake(self, canonical: Any) -> Any:
        """Returns weights rounded to the format, as floats.

        Args:
            canonical: float tensor `(taps, inputs, outputs)`; it may be traced.

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


def check_activations(format: Any) -> None:
    """Raises ValueError if a format has nothing to say of activations."""
    if getattr(format, "weights_only", False):
        raise ValueError(
            f"{format} is for weights; activations beside it are int8. Received: "
            f"activations={str(format)!r}. Write activations='int8', or a format like "
            "'mxfp4' that rounds both."
        )


def name_of(format: Any) -> str:
    """Returns what people call a format: what it prints, or the name it goes by."""
    own = "__str__" in vars(type(format))
    return str(format) if own else FORMATS.to_dict(format)["name"]
