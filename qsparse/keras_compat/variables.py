"""Variables: where they are made, what they hold, and who assigns to them."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import keras
from keras.src.backend.common.variables import AutocastScope, get_autocast_scope


def variable_scope(model: keras.Model) -> AbstractContextManager:
    """Returns the scope in which a model's variables are created.

    A model that trains with `tf.distribute` mirrors its variables; a variable
    made outside its scope would be changed by one replica after the other.
    """
    strategy = getattr(model, "distribute_strategy", None)
    return nullcontext() if strategy is None else strategy.scope()


def sync_variables(model: keras.Model) -> None:
    """Lets variables hold, and hand on, what a training in progress computes with.

    On JAX, `fit` keeps the state of a training outside the variables and takes
    it from them again after this call; on TensorFlow there is nothing to do.
    """
    if hasattr(model, "jax_state_sync"):
        model.jax_state_sync()


def tensor_of(variable: Any) -> Any:
    """Returns a variable's value as an uncast tensor, also in mixed precision.

    The reshape matters: on TensorFlow a converted variable is still a variable,
    which `cond` does not accept.
    """
    with AutocastScope(None):
        return keras.ops.reshape(variable, variable.shape)


def autocast_dtype() -> str | None:
    """Returns the compute dtype of the running `Layer.__call__`, if it casts."""
    scope = get_autocast_scope()
    return None if scope is None else scope.dtype


def tell_of_assignments(variable: keras.Variable, tell: Callable[[], None]) -> None:
    """Calls `tell` after every assignment to a variable.

    `set_weights`, and with it `EarlyStopping`, assign to variables one by one and
    tell nobody.
    """
    assign = variable.assign

    def assign_and_tell(value: Any) -> Any:
        result = assign(value)
        tell()
        return result

    variable.assign = assign_and_tell
