"""State: what every compressed layer of a model shares, and where it lives.

State lives in child layers: a `Compression` under each layer it changes, and one
`ModelState` under the first of them. Plain Keras skips child layers it does not
know when it loads a file; checkpoints, `model.weights`, optimizers, distribution
and mixed precision treat them like any other layer.
"""

import json
import weakref
from dataclasses import fields, replace
from typing import Any, NamedTuple

import keras
import numpy as np

from qsparse.engine.batches import Batches
from qsparse.keras_compat import (
    entry_of_call,
    handed_back,
    model_of_step,
    renew_compiled_functions,
    tell_of_assignments,
    tensor_of,
    walk_layers,
)
from qsparse.planning.clock import Clock, Span
from qsparse.planning.plan import LayerPlan
from qsparse.planning.recipe import Recipe

CHILD = "qsparse"
SHARED = "shared"


class Switches(NamedTuple):
    """What a phase of training turns on; read where a model is traced.

    Attributes:
        fake_quantizes: whether fake quantization is on.
        statistics_frozen: whether normalizations train with moving statistics.
        ranges_frozen: whether activation ranges stay what they are in training.
    """

    fake_quantizes: bool = False
    statistics_frozen: bool = False
    ranges_frozen: bool = False


class ModelState(keras.layers.Layer):
    """What the whole model shares: the recipe, the clock and the switches.

    The host counts the steps. The variable `clock` gets their number where masks are
    selected, a switch turns or an epoch ends: on some backends a variable that is
    assigned to stops the device. A file is written from the host's clock, so it is
    right at whatever step it is saved. What others assign to the variables, as
    `set_weights` does, is noticed and taken over; what comes past `assign`, as
    `tf.train.Checkpoint` restores it, where `refresh` is called next.

    The switches are read when a model is traced, so that a phase costs nothing while
    it is off. Turning one has the functions of every model traced anew that these
    layers run in. A function that Keras does not own, as a `tf.function` around a
    model, is not traced anew: it follows the variable `quantizing` with a branch. What
    is frozen follows from the clock: a model that is loaded, or gets earlier weights
    back, has frozen what it had then.

    Attributes:
        recipe: the `Recipe` in force.
        clock: int32 `(5,)`: a `Clock`, as `Clock.to_list` writes it.
        quantizing: bool scalar, whether fake quantization is on, for files,
            `get_weights` and functions that Keras does not own. The switch itself is
            `fake_quantizes`.
        progress: float32 scalar, how much of the pruning phase was over at the last
            selection of masks, in [0, 1].
        switches: how the switches stand.
        fitting: whether a step of `fit` runs now. It is read where a model is called
            that hands no `training` on to its layers, when that call is traced.
        calibrating: whether ranges follow what a model is called with, though it does
            not train.
        estimating: whether normalizations follow it.
        untraced: whether nothing traces the calls that run: then they branch on the
            host, which in JAX saves a compilation for each branch of each call.
        members: the compressions that share this state, as far as they exist.
        left_out: layers that a recipe could compress, and was told to leave.
        callers: models whose functions these layers were traced in.
        seen: layers that were there, and built, when the recipe was attached.
        score_data: what criteria may see of a user's data; None without. It is not
            saved.
    """

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(name="state", trainable=False)
        self.recipe = recipe
        self.score_data: Batches | None = None
        self.fitting = self.calibrating = self.estimating = self.untraced = False
        self.switches = Switches()
        self.callers: weakref.WeakSet[keras.Model] = weakref.WeakSet()
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
        self._time = Clock()
        self._stored: tuple[int, ...] = ()
        self.store_time()
        self.quantizing = self.add_weight(
            name="quantizing",
            shape=(),
            dtype="bool",
            initializer="zeros",
            trainable=False,
        )
        self.progress = self.add_weight(
            name="progress",
            shape=(),
            dtype="float32",
            initializer="zeros",
            trainable=False,
        )
        tell_of_assignments(self.clock, self._notice_time)
        tell_of_assignments(self.quantizing, self._notice_switch)
        self.built = True

    @property
    def fake_quantizes(self) -> bool:
        """Whether fake quantization is on."""
        return self.switches.fake_quantizes

    def time(self) -> Clock:
        """Returns what the clock shows."""
        return self._time

    def set_time(self, clock: Clock) -> None:
        """Sets the clock, and the variable."""
        self._time = clock
        self.store_time()

    def advance(self, step: int) -> None:
        """Sets the clock to a step, on the host only."""
        self._time = self._time._replace(step=step)

    def delay_pruning(self, steps: int) -> None:
        """Lets all that pruning has yet to do come so many steps later, on the host."""
        span = self._time.pruning
        span = span._replace(start=span.start + steps)
        self._time = self._time._replace(pruning=span)

    def store_time(self) -> None:
        """Lets the variable hold what the clock shows."""
        values = tuple(self._time.to_list())
        if values != self._stored:
            self._stored = values
            self.clock.assign(values)

    def switch(self) -> Any:
        """Returns whether a layer that is called fake-quantizes.

        A bool in a function that is traced anew when the switch turns; else a bool
        scalar, the value of the variable.
        """
        if self.untraced:
            return self.fake_quantizes
        owner = model_of_step()
        if owner is None:
            return tensor_of(self.quantizing)
        self.callers.add(owner)
        return self.fake_quantizes

    def turn(self, wanted: Switches) -> None:
        """Turns the switches, and has everything traced anew if one of them moves."""
        if wanted == self.switches:
            return
        moves = wanted.fake_quantizes != self.fake_quantizes
        self.switches = wanted
        if moves:
            self.quantizing.assign(wanted.fake_quantizes)
        self._renew_functions()

    def reorder(self, order: str) -> None:
        """Lets layers prune and round in another order from here on."""
        if order != self.recipe.order:
            self.recipe = replace(self.recipe, order=order)
            self._renew_functions()

    def _renew_functions(self) -> None:
        for model in list(self.callers):
            renew_compiled_functions(model)

    def switches_at(self, step: int) -> Switches:
        """Returns how the switches stand at a step, by the recipe and the clock."""
        recipe, span = self.recipe, self._time.quantizing
        if not recipe.quantizes or not span.begun:
            return Switches(self.fake_quantizes)
        if step < span.step_of(recipe.quantize_from):
            return Switches()
        norms = any(member.plan.freezes_statistics for member in self.members)
        return Switches(
            True,
            norms and _has_come(recipe.freeze_statistics_from, step, span),
            _has_come(recipe.freeze_ranges_from, step, span),
        )

    def refresh(self) -> None:
        """Takes over what the variables hold, if they were changed unseen."""
        if self._values() != self._stored:
            self._notice_time()
        if bool(self.quantizing.numpy()) != self.fake_quantizes:
            self._notice_switch()

    def _values(self) -> tuple[int, ...]:
        return tuple(int(value) for value in self.clock.numpy())

    def _read(self, values: Any) -> Clock:
        prunes, quantizes = self.recipe.prunes, self.recipe.quantizes
        return Clock.from_saved(values, prunes, quantizes)

    def _notice_time(self) -> None:
        # `fit` on JAX hands back what it was given: of that, only a change is news.
        values = self._values()
        if values != self._stored or not handed_back():
            self._time, self._stored = self._read(values), values
            frozen = self.switches_at(self._time.step)
            self.turn(frozen._replace(fake_quantizes=self.fake_quantizes))

    def _notice_switch(self) -> None:
        on = bool(self.quantizing.numpy())
        self.turn(self.switches._replace(fake_quantizes=on))

    @property
    def begun(self) -> bool:
        """Whether the clock runs: started here, or restored from a file."""
        return self.time().begun

    def save_own_variables(self, store: Any) -> None:
        """Stores the recipe beside the variables, so that a file explains itself."""
        self.refresh()
        text = json.dumps(self.recipe.to_dict()).encode()
        store["recipe"] = np.frombuffer(text, dtype=np.uint8)
        store["clock"] = np.array(self._time.to_list(), np.int32)
        store["quantizing"] = self.quantizing
        store["progress"] = self.progress

    def load_own_variables(self, store: Any) -> None:
        """Restores clock and switch; a dense checkpoint has neither.

        Raises:
            ValueError: if the file was written with another recipe.
        """
        if "recipe" in store:
            saved = Recipe.from_dict(json.loads(np.asarray(store["recipe"]).tobytes()))
            different = sorted(
                f.name
                for f in fields(Recipe)
                if f.name != "exclude"
                and getattr(saved, f.name) != getattr(self.recipe, f.name)
            )
            if different:
                raise ValueError(
                    "This file was saved with another recipe than the model carries: "
                    f"{', '.join(different)} differ. Attach the recipe of the file "
                    "(qsparse.load_weights does), or start from its stripped weights."
                )
        if "clock" in store:
            self.set_time(self._read(store["clock"]))
            self.quantizing.assign(store["quantizing"])
        if "progress" in store:
            self.progress.assign(store["progress"])


def _has_come(moment: float | int | None, step: int, span: Span) -> bool:
    """Returns whether a moment is over at a step; shares of an unknown length never."""
    if moment is None or (isinstance(moment, float) and moment > 0 and not span.total):
        return False
    return step >= span.step_of(moment)


class _Reference:
    """Holds a layer without Keras tracking it, or walking into it, as a child."""

    def __init__(self, layer: ModelState) -> None:
        self.layer = layer


class Compression(keras.layers.Layer):
    """The child of a compressed layer: what it does to its inputs and outputs.

    Args:
        plan: what becomes of the layer.
        state: the model's shared state.
        **settings: passed on to `keras.layers.Layer`.

    Attributes:
        plan: what becomes of the layer.
        output_quantizer: what fake-quantizes the layer's output, where that leaves
            the model; else None.
    """

    output_quantizer: "Compression | None" = None

    def __init__(self, plan: LayerPlan, state: ModelState, **settings: Any) -> None:
        super().__init__(name=CHILD, trainable=False, dtype="float32", **settings)
        self.plan = plan
        self._reference = _Reference(state)

    def state(self) -> ModelState:
        """Returns the model's shared state.

        A method, because Keras walks every attribute that is a layer when it
        loads a file, and would find the state in many places.
        """
        return self._reference.layer

    def note_caller(self) -> None:
        """Remembers which model is called: it is traced anew when a switch turns.

        The one that is called first may run in a step of another, as a student in
        that of its distiller.
        """
        for caller in (entry_of_call(self), model_of_step()):
            if isinstance(caller, keras.Model):
                self.state().callers.add(caller)

    def quantize_inputs(self, inputs: Any) -> Any:
        """Returns what the layer computes with instead of `inputs`."""
        raise NotImplementedError

    def quantize_outputs(self, outputs: Any) -> Any:
        """Returns what leaves the layer instead of `outputs`."""
        quantizer = self.output_quantizer
        return outputs if quantizer is None else quantizer(outputs)

    def fix(self, on_grid: bool = True) -> None:
        """Fixes everything to what it is now, as constants of a traced graph.

        Args:
            on_grid: whether weights are rounded to int8 even if training did not
                begin to.
        """
        raise NotImplementedError

    def release(self) -> None:
        """Undoes `fix`."""
        raise NotImplementedError

    def detach(self) -> None:
        """Leaves the layer as plain Keras would compute it from here on."""
        raise NotImplementedError


def compression_of(layer: keras.layers.Layer) -> Compression | None:
    """Returns the compression child of a layer, or None."""
    child = getattr(layer, CHILD, None)
    return child if isinstance(child, Compression) else None


def compressions(model: keras.Model) -> list[Compression]:
    """Returns the compression children of all layers of a model, depth first."""
    children = (compression_of(layer) for _, layer in walk_layers(model))
    return [child for child in children if child is not None]


def state_of(model: keras.Model) -> ModelState | None:
    """Returns the state that a model's layers share, or None if it has no recipe.

    It is what the variables say, whoever wrote them. Not to be called in a trace.
    """
    found = compressions(model)
    if not found:
        return None
    state = found[0].state()
    state.refresh()
    return state
