"""The scales of a kernel that training learns."""

from typing import Any

import keras
import numpy as np
from keras import ops

from qsparse.engine.trained import Trained, add_grown
from qsparse.keras_compat import tensor_of

# No grid ends at less of the greatest weight: it would round all of them to zero.
_LEAST = 0.01


class LearnedScales(keras.layers.Layer, Trained):
    """Where the grid of each output channel ends, as a share of its greatest weight.

    All of it until `begin` is called.

    Args:
        format: a `LearnedInt`.
        outputs: how many channels there are.
    """

    def __init__(self, format: Any, outputs: int) -> None:
        super().__init__(
            name="scales", trainable=False, dtype="float32", autocast=False
        )
        self._format = format
        self._axes = (0, 1) if format.per_channel else None
        shape = (outputs if format.per_channel else 1,)
        self.begun = self.add_weight(
            name="begun", shape=shape, initializer="ones", trainable=False
        )
        self.grown = add_grown(self, shape)
        self.built = True

    def begin(self, canonical: np.ndarray) -> None:
        """Lets every grid end where it rounds these weights with the least error.

        Args:
            canonical: what is to be rounded, `(taps, inputs, outputs)`.
        """
        begun = self._format.start(canonical)[: self.begun.shape[0]]
        self.begun.assign(begun)
        self.grown.assign(np.zeros_like(begun))

    def fake(self, canonical: Any, on: Any) -> Any:
        """Returns weights that are rounded where fake quantization is on.

        Args:
            canonical: tensor `(taps, inputs, outputs)`.
            on: True, or as of `ModelState.switch`.
        """
        dtype = canonical.dtype
        canonical = ops.cast(canonical, "float32")  # As `encode` has it.
        values = ops.stop_gradient(canonical)
        most = ops.max(ops.abs(values), axis=self._axes)
        grown, begun = tensor_of(self.grown), tensor_of(self.begun)
        ends = most * ops.stop_gradient(ops.maximum(begun * (1.0 + grown), _LEAST))

        def rounded() -> Any:
            return self._format.rounded(values, ends)

        if on is True:
            found = rounded()
        else:
            found = ops.cond(on, rounded, lambda: values)
            ends = ops.where(on, ends, most)
        learning = self._format.learning(found, canonical, ends, most * begun, grown)
        return ops.cast(learning, dtype)

    def encode(self, canonical: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns `(q, scale)` of weights, as `Format.encode` does."""
        shares = self.begun.numpy() * (np.float32(1) + self.grown.numpy())
        shares = np.maximum(shares, np.float32(_LEAST))
        ends = np.abs(canonical).max(axis=self._axes) * shares
        ends = np.broadcast_to(ends, canonical.shape[2:])
        codes, scale = self._format.coded(canonical, ends)
        return codes, scale

    def save_own_variables(self, store: Any) -> None:
        """Stores the shares under their names."""
        store["begun"], store["grown"] = self.begun, self.grown

    def load_own_variables(self, store: Any) -> None:
        """Restores the shares; a dense checkpoint has none."""
        for name in ("begun", "grown"):
            if name in store:
                getattr(self, name).assign(store[name])
