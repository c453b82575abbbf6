"""State: what every compressed layer of a model shares.

State lives in child layers. A child layer, unlike a bare variable, is skipped by
plain Keras when it loads a file, is carried by every checkpoint, and is treated
by optimizers, `tf.distribute` and mixed precision like any other layer.
"""

import json
import weakref
from typing import Any

import keras
import numpy as np

from qsparse.keras_compat import tensor_of
from qsparse.recipe import Recipe


class ModelState(keras.layers.Layer):
    """What the whole model shares: the recipe, the clock and one switch.

    Attributes:
        recipe: the `Recipe` in force.
        clock: int32 `(3,)`: the optimizer's iteration at which compression
            began (-1: it has not), the total steps of that training (0: unknown),
            and the last step that was seen to.
        quantizing: bool scalar, whether fake quantization is on.
    """

    def __init__(self, model: keras.Model, recipe: Recipe) -> None:
        super().__init__(name="compression_state", trainable=False)
        self._model: Any = weakref.ref(model)
        self.recipe = recipe
        self.clock = self.add_weight(
            shape=(3,), dtype="int32", initializer="zeros", trainable=False
        )
        self.clock.assign([-1, 0, -1])
        self.quantizing = self.add_weight(
            shape=(), dtype="bool", initializer="zeros", trainable=False
        )
        self.built = True

    def loss_scale(self) -> Any:
        """Return what float16 training multiplies the loss by now, else 1."""
        optimizer = getattr(self._model(), "optimizer", None)
        scale = getattr(optimizer, "dynamic_scale", None)
        return 1.0 if scale is None else tensor_of(scale)

    def save_own_variables(self, store: Any) -> None:
        """Store the recipe beside the variables, so that a file explains itself."""
        text = json.dumps(self.recipe.to_dict()).encode()
        store["recipe"] = np.frombuffer(text, dtype=np.uint8)
        store["clock"] = self.clock
        store["quantizing"] = self.quantizing

    def load_own_variables(self, store: Any) -> None:
        """Restore clock and switch; a dense checkpoint has neither."""
        if "clock" in store:
            self.clock.assign(store["clock"])
            self.quantizing.assign(store["quantizing"])


def state_of(model: keras.Model) -> ModelState | None:
    """Return the model's compression state, or None if it carries no recipe."""
    state = getattr(model, "compression_state", None)
    return state if isinstance(state, ModelState) else None
