"""The tap: gradients are seen in one place, where the optimizer applies them.

The class of the optimizer is swapped, as that of a layer is, for a subclass that
hands on what it is given and adds it up for the criteria that ask for it, and that
lets estimators settle weights after its steps. What that takes, sums and copies of
masks, are variables of the optimizer: what JAX compiles sees no others there. The
optimizer saves and loads as if they were not there; a layer's file holds its sums and
its mask.
"""

import weakref
from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from qsparse.keras_compat import (
    impersonate,
    spread_of,
    tensor_of,
    trained_variable,
    trained_variables,
    untrack_optimizer_variable,
)
from qsparse.methods.criteria import STATISTICS

TAP = "qsparse_tap"


class GradientSums:
    """Sums over a kernel's gradients, as criteria ask for them.

    Args:
        kernel: the kernel.
        names: of `STATISTICS` that steps bring.
    """

    def __init__(self, kernel: keras.Variable, names: Iterable[str]) -> None:
        self.kernel = kernel
        # Not on a layer: Keras would take the optimizer's variables for weights.
        self.variables: dict[str, keras.Variable | None] = dict.fromkeys(names)
        self._waiting: dict[str, np.ndarray] = {}

    @property
    def come_from_data(self) -> bool:
        """Whether a user's data could bring all of them."""
        return all(STATISTICS[name].from_data for name in self.variables)

    def hold(self, optimizer: keras.optimizers.Optimizer) -> None:
        """Keeps the sums in variables of this optimizer from here on."""
        # An optimizer may be built where a step is traced: nothing is read there.
        for name in self.variables:
            waiting = self._waiting.pop(name, None)
            self.variables[name] = optimizer.add_variable(
                shape=self.kernel.shape,
                initializer=_as_initializer(waiting),
                dtype="float32",
                # Each replica brings its share of the gradient.
                aggregation="mean",
                name=f"{name}_sum",
            )

    def let_go(self) -> None:
        """Keeps the sums here, until an optimizer holds them again."""
        self._waiting = self.values()
        self.variables = dict.fromkeys(self.variables)

    def add(self, gradient: Any) -> None:
        """Adds a gradient; part of the traced step."""
        gradient = ops.cast(gradient, "float32")
        for name, variable in self.variables.items():
            term = STATISTICS[name].term
            if variable is not None and term is not None:
                weights = ops.cast(tensor_of(self.kernel), "float32")
                variable.assign_add(term(weights, gradient))

    def held(self) -> list[keras.Variable]:
        """Returns the optimizer's variables."""
        return [v for v in self.variables.values() if v is not None]

    def values(self) -> dict[str, np.ndarray]:
        """Returns the sums that there are, float32 of the kernel's shape."""
        held = {n: v.numpy() for n, v in self.variables.items() if v is not None}
        return {**self._waiting, **held}

    def put(self, name: str, value: Any) -> None:
        """Sets a sum."""
        variable = self.variables[name]
        if variable is None:
            self._waiting[name] = np.asarray(value, np.float32)
        else:
            variable.assign(value)

    def take(self, name: str) -> np.ndarray | None:
        """Returns a sum, which may begin anew; None if no gradient came."""
        value = self.values().get(name)
        if value is None or not value.any():
            return None
        value = value.copy()
        if STATISTICS[name].restarts:
            self.put(name, np.zeros_like(value))
        return value


def _as_initializer(value: np.ndarray | None) -> Any:
    return "zeros" if value is None else lambda *_, **__: value


class SettledMask:
    """A copy of a kernel's mask, by which an estimator settles weights after a step.

    Args:
        kernel: the kernel.
        mask: bool, of its shape.
        estimator: one that settles.
    """

    come_from_data = False

    def __init__(
        self, kernel: keras.Variable, mask: np.ndarray, estimator: Any
    ) -> None:
        self.kernel = kernel
        self._estimator = estimator
        self._mask = mask
        self._variable: keras.Variable | None = None

    def hold(self, optimizer: keras.optimizers.Optimizer) -> None:
        """Keeps the copy in a variable of this optimizer from here on."""
        self._variable = optimizer.add_variable(
            shape=self.kernel.shape,
            initializer=_as_initializer(self._mask),
            dtype="bool",
            name="settled_mask",
        )

    def let_go(self) -> None:
        """Keeps the copy here, until an optimizer holds it again."""
        self._variable = None

    def held(self) -> list[keras.Variable]:
        """Returns the optimizer's variables."""
        return [] if self._variable is None else [self._variable]

    def put(self, mask: np.ndarray) -> None:
        """Sets the copy."""
        self._mask = mask
        if self._variable is not None:
            self._variable.assign(mask)

    def settle(self, optimizer: Any, variable: Any, rate: Any) -> None:
        """Lets the estimator have its way; part of the traced step."""
        weights = ops.convert_to_tensor(variable)
        mask = ops.cast(tensor_of(self._variable), weights.dtype)
        rate = ops.cast(rate, weights.dtype)
        step = ops.cast(optimizer.iterations, weights.dtype)
        spread = spread_of(optimizer, variable)
        variable.assign(self._estimator.settle(weights, mask, rate, spread, step))


Held = GradientSums | SettledMask


class Tap:
    """What a tapped optimizer hands its gradients to, and holds for kernels.

    Args:
        held: sums of gradients, and masks to settle by.
    """

    def __init__(self, held: Iterable[Held]) -> None:
        self._held = [weakref.ref(each) for each in held]

    def _living(self) -> list[Held]:
        found = (reference() for reference in self._held)
        return [each for each in found if each is not None]

    def covers(self, sums: Iterable[Held]) -> bool:
        """Returns whether gradients reach all of these."""
        mine = self._living()
        return all(any(each is other for other in mine) for each in sums)

    def build(self, optimizer: keras.optimizers.Optimizer) -> None:
        """Makes the optimizer hold it all."""
        for each in self._living():
            each.hold(optimizer)

    def see(self, gradients: Sequence[Any], variables: Sequence[Any]) -> None:
        """Adds gradients up; part of the traced step."""
        living = self._living()
        sums = {id(e.kernel): e for e in living if isinstance(e, GradientSums)}
        for gradient, variable in zip(gradients, variables, strict=True):
            each = sums.get(id(variable))
            if each is not None and gradient is not None:
                each.add(gradient)

    def settle(self, optimizer: Any, variable: Any, rate: Any) -> None:
        """Settles what a step has made of a variable; part of the traced step."""
        kernel = trained_variable(optimizer, variable)
        for each in self._living():
            if isinstance(each, SettledMask) and each.kernel is kernel:
                each.settle(optimizer, variable, rate)

    def owns(self, variable: keras.Variable) -> bool:
        """Returns whether an optimizer's variable is held for a kernel."""
        return any(v is variable for each in self._living() for v in each.held())

    def close(self, optimizer: keras.optimizers.Optimizer) -> None:
        """Takes all that is held out of the optimizer."""
        for each in self._living():
            for variable in each.held():
                untrack_optimizer_variable(optimizer, variable)
            each.let_go()


def tap(model: keras.Model, sums: Sequence[Held]) -> bool:
    """Has a compiled model's gradients added up, and its weights settled.

    Args:
        model: any model; one without an optimizer is left alone.
        sums: what is to be held for kernels.

    Returns:
        Whether the train function has to be traced anew.
    """
    optimizer = getattr(model, "optimizer", None)
    current = getattr(optimizer, TAP, None)
    if optimizer is None or (current is None and not sums):
        return False
    if current is not None and current.covers(sums):
        return False
    untap(model)
    for each in sums:
        each.let_go()  # Another optimizer may hold it, that of before `compile`.
    inner = _chain(optimizer)[-1]
    setattr(inner, TAP, Tap(sums))
    for each in _chain(optimizer):
        if each is not inner:
            setattr(each, TAP, getattr(inner, TAP))
        # One that was made of a tapped one's class has that class and no tap.
        plain = getattr(type(each), "original_class", type(each))
        each.__class__ = _tapped_class(plain, each is inner)
    if inner.built:
        getattr(inner, TAP).build(inner)
    return True


def untap(model: keras.Model) -> None:
    """Undoes `tap`; the sums stay where they are asked for."""
    optimizer = getattr(model, "optimizer", None)
    current = getattr(optimizer, TAP, None)
    if current is None:
        return
    chain = _chain(optimizer)
    current.close(chain[-1])
    for each in chain:
        each.__class__ = type(each).original_class
        delattr(each, TAP)


def _chain(optimizer: Any) -> list[Any]:
    """Returns an optimizer and those that it wraps, as `LossScaleOptimizer` does."""
    found = [optimizer]
    while hasattr(found[-1], "inner_optimizer"):
        found.append(found[-1].inner_optimizer)
    return found


def _is_sum(optimizer: Any, variable: keras.Variable) -> bool:
    current = getattr(optimizer, TAP, None)
    return current is not None and current.owns(variable)


_CLASSES: dict[tuple[type, bool], type] = {}


def _tapped_class(original: Any, innermost: bool) -> type:
    """Returns the subclass of an optimizer's class that knows of the tap."""
    if (original, innermost) in _CLASSES:
        return _CLASSES[original, innermost]

    class Tapped(original):
        original_class = original

        @classmethod
        def from_config(cls, *args: Any, **kwargs: Any) -> Any:
            return original.from_config(*args, **kwargs)

        def save_own_variables(self, store: Any) -> None:
            values: dict[str, Any] = {}
            super().save_own_variables(values)
            sums = [_is_sum(self, variable) for variable in self.variables]
            kept = [values[str(i)] for i, is_sum in enumerate(sums) if not is_sum]
            for index, value in enumerate(kept):
                store[str(index)] = value

        def load_own_variables(self, store: Any) -> None:
            foreign = [_is_sum(self, variable) for variable in self.variables]
            if len(store.keys()) == foreign.count(False):
                stored = (store[str(i)] for i in range(len(store.keys())))
                store = {
                    str(i): variable.numpy() if mine else next(stored)
                    for i, (variable, mine) in enumerate(
                        zip(self.variables, foreign, strict=True)
                    )
                }
            super().load_own_variables(store)

    class TappedInnermost(Tapped):
        def build(self, variables: Any) -> None:
            super().build(variables)
            current = getattr(self, TAP, None)
            if current is not None:
                current.build(self)

        def apply(self, grads: Any, trainable_variables: Any = None) -> Any:
            if trainable_variables is not None:
                trainable_variables = list(trainable_variables)
                if not self.built:
                    self.build(trainable_variables)
            seen = grads = list(grads)
            current = getattr(self, TAP, None)
            if self.loss_scale_factor is not None:
                seen = [
                    None if g is None else g / self.loss_scale_factor for g in grads
                ]
            if grads and current is not None:
                current.see(seen, trainable_variables or trained_variables(self))
            return super().apply(grads, trainable_variables)

        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> Any:
            super().update_step(gradient, variable, learning_rate)
            current = getattr(self, TAP, None)
            if current is not None:
                current.settle(self, variable, learning_rate)

    cls = impersonate(TappedInnermost if innermost else Tapped, original)
    _CLASSES[original, innermost] = cls
    return cls
