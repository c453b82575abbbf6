"""Runs a frozen graph, or hands it to TensorFlow to be traced."""

import contextlib
import gc
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from qsparse.tflite_export.graph.graph import Graph

_WORTH_FREEING = 32 << 20  # bytes


@contextlib.contextmanager
def _unfused() -> Iterator[None]:
    """Keeps TensorFlow from fusing a convolution with its bias meanwhile.

    On CPUs where it does not use oneDNN, the fused op knows no groups.
    """
    options = tf.config.optimizer.get_experimental_options()
    tf.config.optimizer.set_experimental_options({"remapping": False})
    try:
        yield
    finally:
        before = options.get("remapping", True)
        tf.config.optimizer.set_experimental_options({"remapping": before})


def runnable(graph: Graph, fetches: Callable | None = None) -> Callable:
    """Compiles a graph to be run.

    Args:
        graph: as it is now; later changes of it are not seen.
        fetches: called with `get(tensor name) -> tf.Tensor`; what it returns is
            what the function returns. None returns the outputs by name.

    Returns:
        A function of one positional argument per input.
    """
    compiled = traceable(graph, fetches)

    def run(*arguments: Any) -> Any:
        with _unfused():
            return compiled(*arguments)

    return run


def traceable(
    graph: Graph,
    fetches: Callable | None = None,
    weights: Mapping[str, tf.Tensor | tf.Variable] | None = None,
) -> Callable:
    """Compiles a graph to be traced into another function or a SavedModel.

    Args:
        graph: as it is now; later changes of it are not seen.
        fetches: see `runnable`.
        weights: where the function finds the graph's `large_constants`; None makes
            tensors of them.

    Returns:
        A `tf.function` of one positional argument per input.
    """
    graph_def = graph.definition()
    if weights is None:
        large = graph.large_constants()
        weights = {name: tf.constant(value) for name, value in large.items()}

    def run(*arguments: tf.Tensor) -> Any:
        def get(tensor: str) -> tf.Tensor:
            name = tensor if ":" in tensor else f"{tensor}:0"
            return importing.get_tensor_by_name(f"{prefix}/{name}")

        importing = tf.compat.v1.get_default_graph()
        prefix = importing.unique_name("frozen", mark_as_used=False)
        placeholders = dict(zip(graph.inputs.values(), arguments, strict=True))
        for name, weight in weights.items():
            placeholders[name] = tf.identity(weight)
        tf.graph_util.import_graph_def(
            graph_def,
            input_map={f"{name}:0": t for name, t in placeholders.items()},
            name=prefix,
        )

        def fetch(tensor: str) -> tf.Tensor:
            # Imported graphs keep an unfed placeholder for a mapped input.
            return placeholders[tensor] if tensor in placeholders else get(tensor)

        if fetches is not None:
            return fetches(fetch)
        return {name: fetch(tensor) for name, tensor in graph.outputs.items()}

    return tf.function(run, input_signature=graph.signature(), autograph=False)


def measure(
    graph: Graph, fetches: Callable, batches: Iterable[list[np.ndarray]]
) -> Iterator[Any]:
    """Runs a graph on samples.

    Args:
        graph: as it is now.
        fetches: see `runnable`.
        batches: samples, one list of inputs per batch.

    Yields:
        What `fetches` returns, as arrays, batch by batch.
    """
    run = runnable(graph, fetches)
    for batch in batches:
        yield tf.nest.map_structure(lambda tensor: tensor.numpy(), run(*batch))
    del run
    free_copies(graph)


def free_copies(graph: Graph) -> None:
    """Frees functions that are no longer used.

    They are cyclic garbage, and each holds a copy of all weights. A search for
    garbage takes long, too, so it is worth it for large weights only.
    """
    if sum(a.nbytes for a in graph.large_constants().values()) > _WORTH_FREEING:
        gc.collect()
