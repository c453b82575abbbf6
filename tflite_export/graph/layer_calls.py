"""Which layer of a Keras model an op was traced in."""

import functools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import keras
import tensorflow as tf

from qsparse.keras_compat import walk_layers


@contextmanager
def noted(model: keras.Model) -> Iterator[dict[str, str]]:
    """Notes the path of the innermost layer in whose call an op is made.

    Args:
        model: a built model. It is called inside, while a function is traced.

    Yields:
        name of an op -> path of its layer; ops outside of all layers are missing.
    """
    layers: dict[str, str] = {}
    with ExitStack() as stack:
        for path, layer in walk_layers(model):
            stack.enter_context(_noting(layer, path, layers))
        yield layers


@contextmanager
def _noting(
    layer: keras.layers.Layer, path: str, layers: dict[str, str]
) -> Iterator[None]:
    original = layer.call
    own = "call" in vars(layer)  # somebody gave this layer a call of its own

    @functools.wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        graph = tf.compat.v1.get_default_graph()
        before = len(graph.get_operations())
        result = original(*args, **kwargs)
        for op in graph.get_operations()[before:]:
            layers.setdefault(op.name, path)  # those of inner layers have theirs
        return result

    # Not by `setattr`: Keras tracks what its layers are given.
    object.__setattr__(layer, "call", call)
    try:
        yield
    finally:
        if own:
            object.__setattr__(layer, "call", original)
        else:
            object.__delattr__(layer, "call")
