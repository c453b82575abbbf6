"""Watching: what flows into the layers of a model that is called on data."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from qsparse.engine.feed import Feed
from qsparse.engine.kernel import KernelCompression
from qsparse.oneshot.patches import rows_of_inputs


class Stop(NamedTuple):
    """Layers that can be looked at in one pass: none feeds another.

    Attributes:
        layers: in the order they are called.
        calls: how often each is called.
    """

    layers: tuple[KernelCompression, ...]
    calls: tuple[int, ...]


class _Enough(BaseException):
    """The layers have seen all they are to see; no `Exception`, for Keras catches it.

    What comes after them need not be computed.
    """


def stops(
    model: keras.Model,
    feed: Feed,
    watched: Sequence[KernelCompression],
    memory: int,
) -> list[Stop]:
    """Returns where to stop on the way through a model, in the order of its calls.

    Layers that are called with the very same tensors, as the projections of attention
    are, share a stop, as far as their Gram matrices find room together.

    Args:
        model: the compressed model.
        feed: the data; one sample is looked at.
        watched: the layers to look at.
        memory: bytes for the Gram matrices of a stop.

    Raises:
        ValueError: if a layer is not called, or its matrix finds no room by itself.
    """
    seen: dict[int, list[Any]] = {}  # holds the tensors, so that none has another's id

    def note(layer: KernelCompression) -> Any:
        return lambda inputs: seen.setdefault(id(layer), []).append(inputs)

    try:
        for layer in watched:
            layer.watcher = note(layer)
        call(model, next(feed.batches(1)))
    finally:
        _look_away(watched)
    _check(model, watched, seen, memory)
    by_id = {id(layer): layer for layer in watched}
    groups: dict[tuple[int, ...], list[KernelCompression]] = {}
    for key, tensors in seen.items():
        same = tuple(id(tensor) for tensor in tensors)
        groups.setdefault(same, []).append(by_id[key])
    return [
        Stop(tuple(part), tuple(len(seen[id(layer)]) for layer in part))
        for group in groups.values()
        for part in _in_parts(group, memory)
    ]


def _check(
    model: keras.Model,
    watched: Sequence[KernelCompression],
    seen: dict[int, list[Any]],
    memory: int,
) -> None:
    for layer in watched:
        if id(layer) not in seen:
            raise ValueError(
                f"Layer '{layer.path_in_model}' of model '{model.name}' is not called "
                "when the model predicts, so there is nothing to compress it by. Add "
                "it to the recipe's exclude."
            )
        if _room(layer) > memory:
            raise ValueError(
                f"Layer '{layer.path_in_model}' sums over {_columns(layer)} weights, "
                f"whose Gram matrix takes {_room(layer)} bytes; memory={memory}. Give "
                "one_shot more, or exclude the layer."
            )


def _columns(layer: KernelCompression) -> int:
    return layer.layout.taps * layer.layout.inputs


def _room(layer: KernelCompression) -> int:
    return 8 * _columns(layer) ** 2


def _in_parts(
    group: Sequence[KernelCompression], memory: int
) -> list[list[KernelCompression]]:
    """Returns a group in parts whose matrices find room together."""
    parts: list[list[KernelCompression]] = [[]]
    taken = 0
    for layer in group:
        if parts[-1] and taken + _room(layer) > memory:
            parts.append([])
            taken = 0
        parts[-1].append(layer)
        taken += _room(layer)
    return parts


def grams(model: keras.Model, feed: Feed, batch_size: int, stop: Stop) -> list[Any]:
    """Returns the Gram matrix of what flows into each layer of a stop, over all calls.

    Args:
        model: the compressed model; it is called on each batch as far as the stop.
        feed: the data.
        batch_size: samples of a call.
        stop: the layers.

    Returns:
        Float64 `(columns, columns)` for each layer.

    Raises:
        ValueError: if an input is not finite, or if it has no value where the layer is
            called.
    """
    found = [np.zeros((_columns(layer),) * 2) for layer in stop.layers]
    left = [0] * len(found)

    def add(index: int, layer: KernelCompression) -> Any:
        def to_gram(inputs: Any) -> None:
            values = _value(layer, inputs)
            for rows in rows_of_inputs(layer.owner(), layer.layout, values):
                found[index] += rows.T @ rows
            left[index] -= 1
            if not any(left):
                raise _Enough

        return to_gram

    try:
        for index, layer in enumerate(stop.layers):
            layer.watcher = add(index, layer)
        for batch in feed.batches(batch_size):
            left[:] = stop.calls
            try:
                call(model, batch)
            except _Enough:
                pass
    finally:
        _look_away(stop.layers)
    return found


def _value(layer: KernelCompression, inputs: Any) -> np.ndarray:
    try:
        values = np.asarray(keras.ops.convert_to_numpy(inputs))
    except Exception as error:
        raise ValueError(
            f"Layer '{layer.path_in_model}' is called in a function that is traced, "
            "where its inputs have no values. Exclude it, or call it outside of "
            "tf.function, jax.jit and the loops of Keras."
        ) from error
    if not np.isfinite(values.astype(np.float32)).all():
        raise ValueError(
            f"What flows into layer '{layer.path_in_model}' is NaN or infinite. Look "
            "for it in the weights before it, or in how the data is scaled."
        )
    return values


def _look_away(layers: Sequence[KernelCompression]) -> None:
    for layer in layers:
        layer.watcher = None


def call(model: keras.Model, batch: Any) -> None:
    """Calls a model as it predicts, operation by operation."""
    model(keras.tree.map_structure(keras.ops.convert_to_tensor, batch), training=False)
