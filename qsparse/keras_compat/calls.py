"""Calls of layers and models: which runs, what it hands on, how it is traced."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
from keras.src import backend


def running_call(layer: keras.layers.Layer) -> Any:
    """Returns what stands for the outermost `Layer.__call__` that is running.

    To be asked within a call; the object dies with that call.
    """
    return layer._get_call_context()


def entry_of_call(layer: keras.layers.Layer) -> keras.layers.Layer:
    """Returns the outermost layer whose `__call__` is running; ask within a call."""
    return layer._get_call_context().entry_layer


def mask_of(tensor: Any) -> Any:
    """Returns the mask that Keras attached to a tensor, True where it counts; or None.

    To be asked when the call of the layer that made the tensor is over.
    """
    return backend.get_keras_mask(tensor)


@contextmanager
def outputs_recorded(
    layers: dict[str, keras.layers.Layer],
) -> Iterator[dict[str, list[Any]]]:
    """Returns what layers are called for within: by name, the outputs of each call.

    They are the objects that the layers return, in a trace the tensors of that trace.
    """
    seen: dict[str, list[Any]] = {name: [] for name in layers}

    def recording(call: Callable, calls: list[Any]) -> Callable:
        def call_and_record(*args: Any, **kwargs: Any) -> Any:
            outputs = call(*args, **kwargs)
            calls.append(outputs)
            return outputs

        return call_and_record

    # An attribute of the object goes before the method of its class.
    changed = []
    try:
        for name, layer in layers.items():
            vars(layer)["call"] = recording(layer.call, seen[name])
            changed.append(layer)
        yield seen
    finally:
        for layer in changed:
            vars(layer).pop("call", None)


_FUNCTIONS = ("train_function", "test_function", "predict_function")


def renew_compiled_functions(model: keras.Model) -> None:
    """Has the functions that a model has traced traced anew when they next run.

    Unlike `drop_compiled_functions` it may be called from within `fit`.
    """
    for name in _FUNCTIONS:
        if getattr(model, name, None) is not None:
            getattr(model, f"make_{name}")(force=True)


def drop_compiled_functions(model: keras.Model) -> None:
    """Forgets the traced train, test and predict functions of a model.

    They hold the graph of the layers as they were when first called.
    """
    for name in _FUNCTIONS:
        if hasattr(model, name):
            setattr(model, name, None)
