"""The scales of a kernel that training learns."""

from typing import Any

import keras
import numpy as np
from keras import ops

from qsparse.engine.trained import Trained, add_grown
from qsparse.keras_compat import tensor_of
from qsparse.planning.layouts import KernelLayout

# No grid ends at less of the greatest weight: it would round all of them to zero.
_LEAST = 0.01


class LearnedScales(keras.layers.Layer, Trained):
    """Where the grid of each output channel ends, as a share of its greatest weight.

    All of it until `begin` is called.

    Args:
        format: a `LearnedInt`.
        layout: of the kernel.
    """

    def __init__(self, format: Any, layout: KernelLayout) -> None:
        super().__init__(
            name="scales", trainable=False, dtype="float32", autocast=False
        )
        self._format, self._layout = format, layout
        self._axes = layout.reduced_axes
        if not format.per_channel:
            self._axes = tuple(range(len(layout.shape)))
        shape = tuple(
            1 if axis in self._axes else size for axis, size in enumerate(layout.shape)
        )
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
        shares = np.broadcast_to(self._format.start(canonical), canonical.shape)
        begun = self._layout.kernel(shares).max(axis=self._axes, keepdims=True)
        self.begun.assign(begun)
        self.grown.assign(np.zeros_like(begun))

    def fake(self, kernel: Any, on: Any) -> Any:
        """Returns a kernel that is rounded where fake quantization is on.

        Args:
            kernel: tensor of the kernel's shape.
            on: as of `ModelState.switch`.
        """
        if on is False:
            return kernel
        dtype, kernel = kernel.dtype, ops.cast(kernel, "float32")  # As `encode` has it.
        values = ops.stop_gradient(kernel)
        most = ops.max(ops.abs(values), axis=self._axes, keepdims=True)
        grown = tensor_of(self.grown)
        begun = tensor_of(self.begun)
        ends = most * ops.stop_gradient(ops.maximum(begun * (1.0 + grown), _LEAST))

        def rounded() -> Any:
            return self._format.rounded(values, ends)

        if on is True:
            found = rounded()
        else:
            found = ops.cond(on, rounded, lambda: values)
            ends = ops.where(on, ends, most)
        learning = self._format.learning(found, kernel, ends, most * begun, grown)
        return ops.cast(learning, dtype)

    def encode(self, canonical: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns `(q, scale)` of weights, as `Format.encode` does."""
        axes = (0, 1) if self._format.per_channel else None
        most = np.abs(canonical).max(axis=axes)
        ends = np.broadcast_to(most * self._shares(), canonical.shape[2:])
        codes, scale = self._format.coded(canonical, ends)
        return codes, scale

    def _shares(self) -> np.ndarray:
        """Returns where grids end now, float32 `(outputs,)` or a scalar."""
        shares = self.begun.numpy() * (np.float32(1) + self.grown.numpy())
        shares = np.maximum(shares, np.float32(_LEAST))
        if not self._format.per_channel:
            return shares.reshape(())
        return self._layout.canonical(np.broadcast_to(shares, self._layout.shape))[0, 0]

    def save_own_variables(self, store: Any) -> None:
        """Stores the shares under their names."""
        store["begun"], store["grown"] = self.begun, self.grown

    def load_own_variables(self, store: Any) -> None:
        """Restores the shares; a dense checkpoint has none."""
        for name in ("begun", "grown"):
            if name in store:
                getattr(self, name).assign(store[name])
