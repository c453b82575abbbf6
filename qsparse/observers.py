"""Observers: how the range of an activation is found, and where it is applied.

A range sits at the *input* of a layer that computes in int8. That is where the
exported graph needs an int8 tensor, whatever produced it: a convolution with its
folded BatchNormalization and activation, a pooling layer or a bare addition.
"""

from typing import Any

import keras
import numpy as np
from keras import ops

from qsparse.keras_compat import tensor_of
from qsparse.quantizers import fake_quantize_activations
from qsparse.state import Compression, ModelState


class InputQuantizer(Compression):
    """Fake-quantizes the inputs of one layer with trained ranges.

    Ranges are an exponential moving average of the smallest and largest value
    of each training batch, always include zero, and start with the first batch
    after quantization is switched on.

    Args:
        count: how many inputs the layer takes.
        state: the model's shared state.
    """

    def __init__(self, count: int, state: ModelState) -> None:
        # Ranges are float32; inputs keep the dtype the model computes in.
        super().__init__(state, autocast=False)
        self.ranges = self.add_weight(
            name="ranges",
            shape=(count, 2),
            initializer="zeros",
            trainable=False,
            aggregation="mean",
        )
        self._frozen: np.ndarray | None = None
        self.built = True

    def quantize_inputs(self, inputs: Any) -> Any:
        """Fake-quantize what flows into the layer."""
        return self(inputs)

    def freeze(self, on_grid: bool = True) -> None:
        """Fix the ranges to what they are now."""
        self._frozen = self.ranges.numpy()

    def thaw(self) -> None:
        """Undo `freeze`."""
        self._frozen = None

    def detach(self) -> None:
        """Nothing stays behind: activations are float again."""

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Return inputs of the same structure, shapes and dtypes."""
        if training is None:
            # A model whose `call` takes no `training` learns its ranges in `fit`.
            training = self.state().fitting
        if isinstance(inputs, list | tuple):
            pairs = [self._one(x, i, training) for i, x in enumerate(inputs)]
            if training:
                self.ranges.assign(ops.stack([r for _, r in pairs]))
            return [x for x, _ in pairs]
        output, new_range = self._one(inputs, 0, training)
        if training:
            self.ranges.assign(new_range[None])
        return output

    def _one(self, x: Any, index: int, training: bool | None) -> tuple[Any, Any]:
        state = self.state()
        old = self.ranges[index]
        if not keras.backend.is_float_dtype(x.dtype):
            return x, old
        if self._frozen is not None:
            low, high = self._frozen[index]
            trained = low < high
            return (fake_quantize_activations(x, low, high) if trained else x), old

        def quantize() -> tuple[Any, Any]:
            new = self._moved(old, x) if training else old
            return fake_quantize_activations(x, new[0], new[1]), new

        known = True if training else old[0] < old[1]
        on = ops.logical_and(tensor_of(state.quantizing), known)
        return ops.cond(on, quantize, lambda: (x, old))

    def _moved(self, old: Any, x: Any) -> Any:
        values = ops.cast(ops.stop_gradient(x), "float32")
        batch = ops.stack(
            [ops.minimum(ops.min(values), 0.0), ops.maximum(ops.max(values), 0.0)]
        )
        momentum = self.state().recipe.momentum
        moved = momentum * old + (1.0 - momentum) * batch
        return ops.where(old[0] < old[1], moved, batch)

    def save_own_variables(self, store: Any) -> None:
        """Store the ranges under their name."""
        store["ranges"] = self.ranges

    def load_own_variables(self, store: Any) -> None:
        """Restore the ranges; a dense checkpoint has none."""
        if "ranges" in store:
            self.ranges.assign(store["ranges"])
