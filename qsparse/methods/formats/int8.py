"""Int8, as LiteRT has it."""

from dataclasses import dataclass
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from qsparse.methods.formats.base import FORMATS


@FORMATS.register("int8")
@dataclass(frozen=True)
class Int8:
    """Int8 as LiteRT has it.

    Weights: symmetric, one scale per output channel, narrow range [-127, 127],
    `scale = max|w| / 127` in float32. This is the grid that the LiteRT converter
    re-derives from the weights, so what was trained is what the file holds.

    Activations: asymmetric, one scale per tensor, 256 levels; the range is nudged so
    that zero is exact.
    """

    exportable: ClassVar[bool] = True
    activation_bits: ClassVar[int] = 8
    blockwise: ClassVar[bool] = False
    equal_steps: ClassVar[bool] = True
    weights_only: ClassVar[bool] = False

    @property
    def largest(self) -> int:
        """The largest integer; the least is its negative."""
        return 127

    def fake(self, canonical: Any) -> Any:
        """Rounds weights to their grid.

        Args:
            canonical: float32 tensor `(taps, inputs, outputs)`.

        Returns:
            Tensor of the same shape. Zeros stay zero, and so does an all-zero channel.
        """
        return self.rounded(canonical, ops.max(ops.abs(canonical), axis=(0, 1)))

    def rounded(self, weights: Any, ends: Any) -> Any:
        """Returns weights on the grid that reaches to `ends`, where these are not 0."""
        scale = ends / self.largest
        scale = ops.where(scale > 0, scale, ops.ones_like(scale))
        return ops.round(weights / scale) * scale

    def encode(self, canonical: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns what `fake` computes as integers and scales.

        Args:
            canonical: float32 weights `(taps, inputs, outputs)`.

        Returns:
            `(q, scale)`: int8 in [-127, 127] of the same shape, and float32
            `(outputs,)`; an all-zero channel has scale 1.
        """
        return self.coded(canonical, np.abs(canonical).max(axis=(0, 1)))

    def coded(
        self, canonical: np.ndarray, ends: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns integers and scales of the grid that reaches to `ends`."""
        scale = ends / np.float32(self.largest)
        scale = np.where(scale > 0, scale, np.float32(1))
        return np.round(canonical / scale).astype(np.int8), scale

    def decode(self, codes: np.ndarray, scale: np.ndarray) -> np.ndarray:
        """Returns `codes * scale`, float32 `(taps, inputs, outputs)`."""
        return codes.astype(np.float32) * scale

    def fake_activations(self, inputs: Any, minimum: Any, maximum: Any) -> Any:
        """Rounds a tensor to 256 levels between `minimum` and `maximum`.

        Args:
            inputs: float tensor of any shape and dtype.
            minimum: scalar, not above 0.
            maximum: scalar, not below 0.

        Returns:
            Tensor of the shape and dtype of `inputs`. Values outside the range are
            clipped and receive no gradient.
        """
        quantized = keras.quantizers.fake_quant_with_min_max_vars(
            ops.cast(inputs, "float32"), minimum, maximum
        )
        return ops.cast(quantized, inputs.dtype)

    def __str__(self) -> str:
        return "int8"
