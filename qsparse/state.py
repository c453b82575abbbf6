"""State: what every compressed layer of a model shares, and where it lives.

State lives in child layers: a `Compression` under each layer it changes, and one
`ModelState` under the first of them. Plain Keras skips child layers it does not
know when it loads a file; checkpoints, `model.weights`, optimizers, distribution
and mixed precision treat them like any other layer.
"""

import json
import weakref
from typing import Any

import keras
import numpy as np

from qsparse.clock import Clock
from qsparse.keras_compat import walk_layers
from qsparse.recipe import Recipe

CHILD = "qsparse"
SHARED = "shared"


class ModelState(keras.layers.Layer):
    """What the whole model shares: the recipe, the clock and one switch.

    Attributes:
        recipe: the `Recipe` in force.
        clock: int32 `(5,)`: a `Clock`, as `Clock.to_list` writes it.
        quantizing: bool scalar, whether fake quantization is on.
        fitting: whether a step of `fit` runs now. It is read where a model is called
            that hands no `training` on to its layers, when that call is traced.
        members: the compressions that share this state, as far as they exist.
        left_out: layers that a recipe could compress, and was told to leave.
        seen: layers that were there, and built, when the recipe was attached.
    """

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(name="state", trainable=False)
        self.recipe = recipe
        self.fitting = False
        self.members: weakref.WeakSet[Compression] = weakref.WeakSet()
        self.left_out: weakref.WeakSet[keras.layers.Layer] = weakref.WeakSet()
        self.seen: weakref.WeakSet[keras.layers.Layer] = weakref.WeakSet()
        self.clock = self.add_weight(
            name="clock",
            shape=(5,),
            dtype="int32",
            initializer="zeros",
            trainable=False,
        )
        self.set_time(Clock())
        self.quantizing = self.add_weight(
            name="quantizing",
            shape=(),
            dtype="bool",
            initializer="zeros",
            trainable=False,
        )
        self.built = True

    def time(self) -> Clock:
        """Return what the clock shows."""
        prunes, quantizes = self.recipe.pattern is not None, self.recipe.quantize
        return Clock.from_saved(self.clock.numpy(), prunes, quantizes)

    def set_time(self, clock: Clock) -> None:
        """Set the clock."""
        self.clock.assign(clock.to_list())

    @property
    def begun(self) -> bool:
        """Whether the clock runs: started here, or restored from a file."""
        return self.time().begun

    def save_own_variables(self, store: Any) -> None:
        """Store the recipe beside the variables, so that a file explains itself."""
        text = json.dumps(self.recipe.to_dict()).encode()
        store["recipe"] = np.frombuffer(text, dtype=np.uint8)
        store["clock"] = self.clock
        store["quantizing"] = self.quantizing

    def load_own_variables(self, store: Any) -> None:
        """Restore clock and switch; a dense checkpoint has neither.

        Raises:
            ValueError: if the file was written with another recipe.
        """
        if "recipe" in store:
            saved = json.loads(np.asarray(store["recipe"]).tobytes())
            # Settings that came later have their defaults in an older file.
            saved = json.loads(json.dumps(Recipe.from_dict(saved).to_dict()))
            mine = json.loads(json.dumps(self.recipe.to_dict()))
            different = sorted(
                key
                for key in mine.keys() | saved.keys()
                if key != "exclude" and mine.get(key) != saved.get(key)
            )
            if different:
                raise ValueError(
                    "This file was saved with another recipe than the model carries: "
                    f"{', '.join(different)} differ. Attach the recipe of the file "
                    "(qsparse.load_weights does), or start from its stripped weights."
                )
        if "clock" in store:
            prunes, quantizes = self.recipe.pattern is not None, self.recipe.quantize
            self.set_time(Clock.from_saved(store["clock"], prunes, quantizes))
            self.quantizing.assign(store["quantizing"])


class _Reference:
    """Holds a layer without Keras tracking it, or walking into it, as a child."""

    def __init__(self, layer: ModelState) -> None:
        self.layer = layer


class Compression(keras.layers.Layer):
    """The child of a compressed layer: what it does to its inputs and outputs.

    Args:
        state: the model's shared state.
        **settings: passed on to `keras.layers.Layer`.

    Attributes:
        output_quantizer: what fake-quantizes the layer's output, where that leaves
            the model; else None.
    """

    output_quantizer: "Compression | None" = None

    def __init__(self, state: ModelState, **settings: Any) -> None:
        super().__init__(name=CHILD, trainable=False, dtype="float32", **settings)
        self._reference = _Reference(state)

    def state(self) -> ModelState:
        """Return the model's shared state.

        A method, because Keras walks every attribute that is a layer when it
        loads a file, and would find the state in many places.
        """
        return self._reference.layer

    def quantize_inputs(self, inputs: Any) -> Any:
        """Return what the layer computes with instead of `inputs`."""
        raise NotImplementedError

    def quantize_outputs(self, outputs: Any) -> Any:
        """Return what leaves the layer instead of `outputs`."""
        quantizer = self.output_quantizer
        return outputs if quantizer is None else quantizer(outputs)

    def freeze(self, on_grid: bool = True) -> None:
        """Fix everything to what it is now, as constants of a traced graph.

        Args:
            on_grid: whether weights are rounded to int8 even if training did not
                begin to.
        """
        raise NotImplementedError

    def thaw(self) -> None:
        """Undo `freeze`."""
        raise NotImplementedError

    def detach(self) -> None:
        """Leave the layer as plain Keras would compute it from here on."""
        raise NotImplementedError


def compression_of(layer: keras.layers.Layer) -> Compression | None:
    """Return the compression child of a layer, or None."""
    child = getattr(layer, CHILD, None)
    return child if isinstance(child, Compression) else None


def compressions(model: keras.Model) -> list[Compression]:
    """Return the compression children of all layers of a model, depth first."""
    children = (compression_of(layer) for _, layer in walk_layers(model))
    return [child for child in children if child is not None]


def state_of(model: keras.Model) -> ModelState | None:
    """Return the state that a model's layers share, or None if it has no recipe."""
    found = compressions(model)
    return found[0].state() if found else None
