"""Slots: what an optimizer remembers of weights that are pruned or that grow anew.

A momentum of before would move a weight that has no gradient any more, or push one
that starts from zero. And what it has to remember of variables that come and go with a
recipe, as trained ranges do.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from qsparse.keras_compat import (
    can_rebuild,
    innermost,
    rebuild_optimizer,
    slots_of,
    trained_variables,
    variable_scope,
)


def forget(optimizer: Any, variable: keras.Variable, where: np.ndarray) -> None:
    """Sets what an optimizer remembers of some weights to what it begins with.

    Args:
        optimizer: the model's; None, and one that has not made a step, are left alone.
        variable: the weights.
        where: bool, of their shape.
    """
    if optimizer is None or not where.any():
        return
    for slot, begins in slots_of(innermost(optimizer), variable):
        values = slot.numpy()
        slot.assign(np.where(where, values.dtype.type(begins), values))


def check_retrains(model: keras.Model) -> None:
    """Checks that a model's optimizer can be made to train more variables.

    Raises:
        ValueError: if it would lose what it remembers.
    """
    optimizer = getattr(model, "optimizer", None)
    if optimizer is not None and not can_rebuild(optimizer):
        raise ValueError(
            f"{type(innermost(optimizer)).__name__} has made steps, and cannot be "
            "built for other variables without losing what it remembers. Compile the "
            "model with a new optimizer before ranges are trained."
        )


def retrain(
    model: keras.Model,
    added: Sequence[keras.Variable] = (),
    removed: Sequence[keras.Variable] = (),
) -> None:
    """Lets a model's optimizer train other variables, and keep what it remembers.

    One that is not built is left alone: it will be for all that there is. One that
    would lose what it remembers goes on knowing variables that are gone.

    Args:
        model: any model, whose optimizer nothing taps.
        added: variables of the model that come.
        removed: those that go.
    """
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None or not innermost(optimizer).built:
        return
    trained = list(trained_variables(innermost(optimizer)))
    wanted = {id(v) for v in (*trained, *added)} - {id(v) for v in removed}
    if wanted == {id(v) for v in trained} or not can_rebuild(optimizer):
        return
    # In the model's order, as if it were built now: files and JAX count on it.
    order = {id(v): v for v in (*model.trainable_variables, *trained)}
    variables = [v for key, v in order.items() if key in wanted]
    with variable_scope(model):
        rebuild_optimizer(optimizer, variables)
