"""Compiled losses and metrics."""

from typing import Any

import keras
from keras.src.backend import compute_output_spec

from qsparse.keras_compat.variables import variable_scope


def build_loss(model: keras.Model, batch: tuple[Any, Any, Any]) -> None:
    """Makes the variables of a compiled loss, as the first step of training would.

    A loss of several outputs has some, to show the part of each.

    Args:
        model: a compiled model.
        batch: as of `loss_of`.
    """
    loss = model._compile_loss
    if loss is None or loss.built:
        return

    def symbolic(array: Any) -> Any:
        return None if array is None else keras.KerasTensor(array.shape, array.dtype)

    x, y, _ = batch
    outputs = compute_output_spec(model, keras.tree.map_structure(symbolic, x))
    with variable_scope(model):
        loss.build(y, outputs)


def loss_of(model: keras.Model, batch: tuple[Any, Any, Any], compiled: bool) -> Any:
    """Returns the loss that a step of training would have, a scalar tensor.

    To be called where variables are not changed, as in a `StatelessScope`.

    Args:
        model: the model; it is called on `x` in any case.
        batch: `(x, y, sample_weight)`, of which the last two may be None.
        compiled: whether the loss is asked for; else it is 0.
    """
    x, y, weight = batch
    training = {"training": True} if model._call_has_training_arg else {}
    outputs = model(x, **training)
    if not compiled:
        return keras.ops.zeros(())
    return model._compute_loss(x, y, outputs, weight, training=True)


def compiled_loss(model: Any, y: Any, y_pred: Any, sample_weight: Any) -> Any:
    """Returns the loss that a model was compiled with, without what layers add."""
    return model._compile_loss(y, y_pred, sample_weight)


def compiled_with(model: keras.Model) -> dict[str, Any]:
    """Returns the arguments of `compile` that make another model train as this does.

    The optimizer is the same object; so are metrics that were given as objects.
    """
    return {**model._compile_config.config, "optimizer": model.optimizer}


def metric_direction(model: keras.Model, name: str) -> str | None:
    """Returns "up" where more of a compiled metric is better, "down", or None.

    None where there is no such metric, or Keras does not know. Of several outputs each
    may have its own, whose name begins with that of the output.
    """
    outputs = getattr(model, "output_names", None) or ()
    names = {name, *(name.removeprefix(f"{output}_") for output in outputs)}
    if "loss" in names:
        return "down"
    for group in model.metrics:
        for metric in [group, *getattr(group, "metrics", [])]:
            if metric.name in names:
                return getattr(metric, "_direction", None)
    return None
