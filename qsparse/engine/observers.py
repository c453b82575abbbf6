"""Observers: how the range of an activation is found, and where it is applied.

A range sits at the *input* of a layer that computes in int8. That is where the
exported graph needs an int8 tensor, whatever produced it: a convolution with its
folded BatchNormalization and activation, a pooling layer or a bare addition. What
leaves a model is the input of no layer, so a range sits there as well.
"""

import weakref
from typing import Any

import keras
import numpy as np
from keras import ops

from qsparse.engine.state import Compression, ModelState
from qsparse.engine.trained import Trained, add_grown
from qsparse.keras_compat import running_call, tensor_of
from qsparse.methods.observers import MinMax, sizes_by
from qsparse.planning.plan import LayerPlan

# A tensor narrower than this is as good as dead. Its range stays what it was: one
# that followed it would reach scales XNNPACK refuses, and at last NaN.
FLOOR = 1e-6


class InputQuantizer(Compression, Trained):
    """Fake-quantizes the inputs of one layer with trained ranges.

    Ranges follow the least and greatest value of each training step as the plan's
    observer says, always include zero, and start with the first step after
    quantization is switched on. A step is one call of the outermost model: a layer
    that it calls several times sees the union of what these calls bring. A step that
    brings less than `FLOOR`, as one of zeros, or a value that is not finite, leaves a
    range alone. What it brings is then rounded on a grid of `FLOOR`, if there is no
    range yet.

    Where ranges are frozen (`Switches.ranges_frozen`), one that is known stays what it
    is. One that is not yet is found by the first step that brings it, and stays that.

    Ranges that an observer trains (`LSQ`) begin with that step, too. From there on the
    optimizer moves them, by the variable `grown`; `ranges` is where they began.

    Args:
        count: how many inputs the layer takes.
        plan: what becomes of the layer.
        state: the model's shared state.
    """

    def __init__(self, count: int, plan: LayerPlan, state: ModelState) -> None:
        # Ranges are float32; inputs keep the dtype the model computes in.
        super().__init__(plan, state, autocast=False)
        self.ranges = self._add_limits("ranges", (count, 2))
        # Of the step that is running: the ranges it began with, and what it has seen.
        self.step = self._add_limits("step", (2, count, 2))
        self.grown = add_grown(self, (count, 2)) if self._trains else None
        self._last_call: Any = lambda: None
        self._fixed: np.ndarray | None = None
        self.built = True

    def _add_limits(self, name: str, shape: tuple[int, ...]) -> keras.Variable:
        return self.add_weight(
            name=name,
            shape=shape,
            initializer="zeros",
            trainable=False,
            aggregation="mean",
        )

    @property
    def _trains(self) -> bool:
        """Whether the optimizer moves the ranges."""
        return getattr(self.plan.observer, "trained", False)

    def limits(self) -> np.ndarray:
        """Returns what inputs are rounded between: `(low, high)` of each, float32."""
        return ops.convert_to_numpy(_limits(self._reached(_sizes(self.ranges))))

    def rounded(self, values: np.ndarray) -> np.ndarray:
        """Returns what becomes of an array that flows into the layer, by its ranges."""
        low, high = self.limits()[0]
        outputs = self._constant(ops.convert_to_tensor(values), low, high)
        return ops.convert_to_numpy(outputs)

    def _reached(self, start: Any) -> Any:
        """Returns the sizes that ranges have, of those they began with."""
        if self.grown is None:
            return start
        return self.plan.observer.reached(start, tensor_of(self.grown), FLOOR)

    def quantize_inputs(self, inputs: Any) -> Any:
        """Fake-quantizes what flows into the layer."""
        return self(inputs)

    def fix(self, on_grid: bool = True) -> None:
        """Fixes the ranges to what they are now."""
        self._fixed = self.limits()
        if self.output_quantizer is not None:
            self.output_quantizer.fix()

    def release(self) -> None:
        """Undoes `fix`."""
        self._fixed = None
        if self.output_quantizer is not None:
            self.output_quantizer.release()

    def detach(self) -> None:
        """Nothing stays behind: activations are float again."""

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Returns inputs of the same structure, shapes and dtypes."""
        if self.state().calibrating:
            training = True
        elif training is None:
            # A model whose `call` takes no `training` learns its ranges in `fit`.
            training = self.state().fitting
        several = isinstance(inputs, list | tuple)
        tensors = list(inputs) if several else [inputs]
        if self._fixed is not None:
            pairs = zip(tensors, self._fixed, strict=True)
            outputs = [self._constant(x, *limits) for x, limits in pairs]
        else:
            outputs = self._switched(tensors, training, self.state().switch())
        return outputs if several else outputs[0]

    def _switched(self, tensors: list[Any], training: bool | None, on: Any) -> Any:
        """Returns what becomes of the inputs; see `ModelState.switch` for `on`."""
        if on is False:
            return tensors
        if training:
            return self._learn(tensors, on)
        return [self._predict(x, i, on) for i, x in enumerate(tensors)]

    def _predict(self, x: Any, index: int, on: Any) -> Any:
        if not _is_float(x):
            return x
        sizes = self._reached(_sizes(tensor_of(self.ranges)))[index]
        known, limits = _is_known(sizes)[0], _limits(sizes)
        return ops.cond(
            known if on is True else ops.logical_and(on, known),
            lambda: self._rounded(x, limits[0], limits[1]),
            lambda: x,
        )

    def _constant(self, x: Any, low: np.float32, high: np.float32) -> Any:
        if not _is_float(x) or high - low < FLOOR:
            return x
        return self._rounded(x, low, high)

    def _rounded(self, x: Any, low: Any, high: Any) -> Any:
        return self.plan.input_format.fake_activations(x, low, high)

    def _learn(self, tensors: list[Any], on: Any) -> list[Any]:
        # Sizes (-low, high) are what ranges are computed with: one operation serves
        # both ends, and there is less to trace.
        now = _sizes(tensor_of(self.ranges))
        if self._begins_step():
            before, seen = now, ops.zeros_like(now)
        else:
            before, seen = ops.unstack(_sizes(tensor_of(self.step)), num=2)

        def learned() -> list[Any]:
            return self._learned(tensors, before, seen)

        def unchanged() -> list[Any]:
            return [now, seen, *tensors]

        found = learned() if on is True else ops.cond(on, learned, unchanged)
        new, seen, *outputs = found
        self.ranges.assign(_limits(new))
        self.step.assign(_limits(ops.stack([before, seen])))
        return outputs

    def _learned(self, tensors: list[Any], before: Any, seen: Any) -> list[Any]:
        """Returns the sizes of the ranges, those seen in this step, and the outputs."""
        found = ops.stack([self._sizes_of(x) for x in tensors])
        finite = ops.all(ops.isfinite(found), axis=-1, keepdims=True)
        seen = ops.maximum(seen, ops.where(finite, found, ops.zeros_like(found)))
        new = self._moved(before, seen)
        if self._stays:
            new = ops.where(_is_known(before), before, new)
        reached = self._reached(new)
        # Every tensor is rounded: to leave one alone would take a branch, whose
        # gradient costs more than the rounding. What is not finite stays so.
        sizes = ops.where(_is_known(new), reached, ops.maximum(found, FLOOR))
        # Some formats know a gradient of limits; that of a trained one comes below.
        grid = _limits(ops.stop_gradient(sizes))
        outputs = [
            self._rounded(x, grid[i, 0], grid[i, 1]) if _is_float(x) else x
            for i, x in enumerate(tensors)
        ]
        if self.grown is not None:
            # One that is not known has no start, and so no gradient.
            start = ops.where(_is_known(new), new, ops.zeros_like(new))
            grown = tensor_of(self.grown)
            outputs = [
                self.plan.observer.learning(y, x, start[i], sizes[i], grown[i])
                if _is_float(x)
                else x
                for i, (x, y) in enumerate(zip(tensors, outputs, strict=True))
            ]
        return [new, seen, *outputs]

    def _sizes_of(self, x: Any) -> Any:
        """Returns the sizes of the range of `x` and 0; zeros for what is no float."""
        if not _is_float(x):
            return ops.zeros((2,))
        values = ops.cast(ops.stop_gradient(x), "float32")
        return sizes_by(self._looks, values)

    @property
    def _looks(self) -> Any:
        """The observer that says how far a tensor reaches."""
        return self.plan.observer

    def _moved(self, before: Any, seen: Any) -> Any:
        """Returns the sizes after a step that began with `before` and saw `seen`."""
        moved = self.plan.observer.moved(before, seen)
        moved = ops.where(_is_known(before), moved, seen)
        return ops.where(_is_known(seen), moved, before)

    @property
    def _stays(self) -> bool:
        """Whether a range that is known stays; data they are sought in comes first."""
        state = self.state()
        frozen = state.switches.ranges_frozen or self._trains
        return frozen and not state.calibrating

    def _begins_step(self) -> bool:
        """Whether this is the first call within the outermost call that runs."""
        running = running_call(self)
        first = self._last_call() is not running
        self._last_call = weakref.ref(running)
        return first

    def save_own_variables(self, store: Any) -> None:
        """Stores the ranges, and what the last step has seen, under their names."""
        store["ranges"] = self.ranges
        store["step"] = self.step
        if self.grown is not None:
            store["grown"] = self.grown

    def load_own_variables(self, store: Any) -> None:
        """Restores the ranges; a dense checkpoint has none."""
        if "ranges" in store:
            self.ranges.assign(store["ranges"])
        if "step" in store:
            self.step.assign(store["step"])
        if "grown" in store and self.grown is not None:
            self.grown.assign(store["grown"])


class OutputQuantizer(InputQuantizer):
    """Fake-quantizes what leaves the model, and clips nothing of it in training.

    A clipped logit has no gradient, just where it is furthest off. So the range
    grows at once to all that a step brings, and shrinks by the moving average.

    Args:
        plan: what becomes of the layer.
        state: the model's shared state.
    """

    def __init__(self, plan: LayerPlan, state: ModelState) -> None:
        super().__init__(1, plan, state)

    def _moved(self, before: Any, seen: Any) -> Any:
        return ops.maximum(super()._moved(before, seen), seen)

    @property
    def _trains(self) -> bool:
        return False  # A range that shrinks clips.

    @property
    def _looks(self) -> Any:
        return MinMax()  # Clips nothing.

    def _rounded(self, x: Any, low: Any, high: Any) -> Any:
        return self.plan.output_format.fake_activations(x, low, high)


def _is_float(x: Any) -> bool:
    return keras.backend.is_float_dtype(x.dtype)


def _is_known(sizes: Any) -> Any:
    """Returns, along the last axis, whether a range is wide enough to round to."""
    return ops.sum(sizes, axis=-1, keepdims=True) >= FLOOR


def _sizes(limits: Any) -> Any:
    """Returns (-low, high) of (low, high); a range includes zero."""
    return ops.abs(limits)


def _limits(sizes: Any) -> Any:
    """Returns (low, high) of (-low, high)."""
    return sizes * np.array([-1.0, 1.0], np.float32)
