"""Int8 weights beside int16 activations, as LiteRT has them."""

from dataclasses import dataclass
from typing import Any, ClassVar

import keras
from keras import ops

from qsparse.methods.formats.base import FORMATS
from qsparse.methods.formats.int8 import Int8


@FORMATS.register("a16w8")
@dataclass(frozen=True)
class Int16x8(Int8):
    """Weights as of `Int8`; activations in int16, symmetric.

    An activation has one scale and the zero point 0:
    `scale = max(|minimum|, |maximum|) / 32767`, integers in [-32767, 32767], which is
    what LiteRT calls "int16 activations, int8 weights" (the quantization specification
    of LiteRT, and `EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8`). It
    is for networks whose activations need more than 256 levels; LiteRT runs such files
    in its built-in kernels, slower than int8.

    Text "a16w8" names it. All layers of an exported file have it, or none.
    """

    activation_bits: ClassVar[int] = 16

    def fake_activations(self, inputs: Any, minimum: Any, maximum: Any) -> Any:
        """Rounds a tensor to 65,535 levels around zero.

        Computed in float32, so that a value closer than 0.01 steps to the middle
        between two levels may go to either.

        Args:
            inputs: float tensor of any shape and dtype.
            minimum: scalar, not above 0.
            maximum: scalar, not below 0.

        Returns:
            Tensor of the shape and dtype of `inputs`. Values further from zero than
            either limit are clipped and receive no gradient.
        """
        end = ops.maximum(ops.abs(minimum), ops.abs(maximum))
        quantized = keras.quantizers.fake_quant_with_min_max_vars(
            ops.cast(inputs, "float32"), -end, end, num_bits=16, narrow_range=True
        )
        return ops.cast(quantized, inputs.dtype)

    def __str__(self) -> str:
        return "a16w8"
