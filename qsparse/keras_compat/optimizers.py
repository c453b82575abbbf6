"""Optimizers: what they train, and what they remember of it."""

from typing import Any

import keras
import numpy as np
from keras.src.utils import tracking


def trained_variables(optimizer: keras.optimizers.Optimizer) -> list[keras.Variable]:
    """Returns the variables that an optimizer was built for, in their order."""
    return optimizer._trainable_variables


def slots_of(
    optimizer: keras.optimizers.Optimizer, variable: keras.Variable
) -> list[tuple[keras.Variable, float]]:
    """Returns what an optimizer remembers of a variable's past, weight by weight.

    As momentum and velocity are; a moving average of the variable itself is none.

    Args:
        optimizer: the innermost one, built or not.
        variable: one that it may train.

    Returns:
        Variables of the shape of `variable`, and what each begins with.
    """
    trained = optimizer._trainable_variables if optimizer.built else []
    places = [i for i, v in enumerate(trained) if v is variable]
    if not places:
        return []
    found = []
    for name, values in vars(optimizer).items():
        if name in ("_trainable_variables", "_model_variables_moving_average"):
            continue
        if not isinstance(values, list) or len(values) != len(trained):
            continue
        slot = values[places[0]]
        if isinstance(slot, keras.Variable) and slot.shape == variable.shape:
            begins = getattr(optimizer, "initial_accumulator_value", 0.0)
            found.append((slot, begins if "accumulators" in name else 0.0))
    return found


def trained_variable(
    optimizer: keras.optimizers.Optimizer, variable: Any
) -> keras.Variable:
    """Returns which of an optimizer's variables one of its steps is about."""
    return optimizer._trainable_variables[optimizer._get_variable_index(variable)]


def spread_of(optimizer: keras.optimizers.Optimizer, variable: Any) -> Any:
    """Returns what Adam and its kin divide a gradient of a weight by; 1 for others.

    To be called within a step, after the variable's own.
    """
    if not isinstance(optimizer, keras.optimizers.Adam | keras.optimizers.Nadam):
        return 1.0
    second = optimizer._velocities[optimizer._get_variable_index(variable)]
    step = keras.ops.cast(optimizer.iterations + 1, second.dtype)
    start = keras.ops.sqrt(1.0 - keras.ops.power(optimizer.beta_2, step))
    return (keras.ops.sqrt(second) + optimizer.epsilon) / start


def untrack_optimizer_variable(
    optimizer: keras.optimizers.Optimizer, variable: keras.Variable
) -> None:
    """Undoes `optimizer.add_variable`."""
    optimizer._untrack_variable(variable)


def keeps_second_moments(optimizer: Any) -> bool:
    """Returns whether an optimizer, built or not, averages squared gradients."""
    return isinstance(
        innermost(optimizer),
        keras.optimizers.Adam
        | keras.optimizers.Nadam
        | keras.optimizers.Lamb
        | keras.optimizers.RMSprop,
    )


def second_moment(optimizer: Any, variable: keras.Variable) -> np.ndarray | None:
    """Returns an optimizer's mean of squared gradients; None if it has none yet."""
    inner = innermost(optimizer)
    trained = inner._trainable_variables if inner.built else []
    for index, each in enumerate(trained):
        if each is variable:
            return inner._velocities[index].numpy()
    return None


def innermost(optimizer: Any) -> Any:
    """Returns the optimizer that steps, inside those that scale its loss."""
    while hasattr(optimizer, "inner_optimizer"):
        optimizer = optimizer.inner_optimizer
    return optimizer


def _slots(inner: Any) -> list[keras.Variable]:
    """Returns what an optimizer remembers, but for its steps and its rate."""
    own = [inner._iterations, inner._learning_rate]
    return [v for v in inner._variables if not any(v is each for each in own)]


def can_rebuild(optimizer: Any) -> bool:
    """Returns whether `rebuild_optimizer` would lose nothing.

    It would if an optimizer has made steps, and remembers what it is not known to.
    """
    inner = innermost(optimizer)
    if not inner.built or not int(inner._iterations.numpy()):
        return True
    there, count = vars(inner).values(), len(inner._trainable_variables)
    lists = [v for v in there if isinstance(v, list) and len(v) == count]
    known = {id(v) for v in there} | {id(v) for each in lists for v in each}
    return all(id(v) in known for v in _slots(inner))


def rebuild_optimizer(optimizer: Any, variables: list[keras.Variable]) -> None:
    """Builds an optimizer that is built for other variables.

    What it remembers of those that stay is kept, and so is its count of steps.

    Args:
        optimizer: one that is built, with those that it wraps, and `can_rebuild`.
        variables: what it trains from here on.
    """
    inner = innermost(optimizer)
    trained, before = list(inner._trainable_variables), dict(vars(inner))
    for slot in _slots(inner):
        untrack_optimizer_variable(inner, slot)
    inner.built = False
    inner._trainable_variables_indices = {}
    inner.build(variables)
    places = {id(v): place for place, v in enumerate(trained)}
    for name, old in before.items():
        new = vars(inner)[name]
        if new is old or name == "_trainable_variables":
            continue
        if isinstance(old, keras.Variable):
            new.assign(old.numpy())
        elif isinstance(old, list) and len(old) == len(trained):
            for variable, slot in zip(variables, new, strict=True):
                if slot is not None and id(variable) in places:
                    slot.assign(old[places[id(variable)]].numpy())
    while optimizer is not inner:
        with tracking.DotNotTrackScope():  # They are none of the optimizer's own.
            optimizer._trainable_variables = list(variables)
        keys = map(optimizer._var_key, variables)
        optimizer._trainable_variables_indices = {k: i for i, k in enumerate(keys)}
        optimizer = optimizer.inner_optimizer
