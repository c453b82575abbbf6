"""Whether data reach a model as its training data did.

A file made on data of another scale agrees with its model on those data, and is wrong
on the user's. What training saw is on record: the ranges it left.
"""

from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from qsparse.tflite_export.graph import Graph, node_name
from qsparse.tflite_export.ranges import Range

# Of the width of a trained range; samples of one kind differ by less.
_WIDER = 4.0
_BATCHES = 32


def unlike_training(
    graph: Graph, ranges: dict[str, Range], batches: list[list[np.ndarray]]
) -> Iterator[str]:
    """Yields a sentence for each input whose data have another scale than in training.

    The first tensor with a trained range behind an input tells; an input without one
    cannot be judged.

    Args:
        graph: the fake-quantized graph.
        ranges: tensor -> range.
        batches: the data, one list of inputs per batch.
    """
    first = {name: _first_trained(graph, ranges, i) for name, i in graph.inputs.items()}
    known = {name: tensor for name, tensor in first.items() if tensor is not None}
    if not known:
        return
    tensors = list(known.values())
    low, high = np.full(len(tensors), np.inf), np.full(len(tensors), -np.inf)
    for least, greatest in graph.measure(
        lambda get: (
            tf.stack([tf.reduce_min(get(t)) for t in tensors]),
            tf.stack([tf.reduce_max(get(t)) for t in tensors]),
        ),
        batches[:_BATCHES],
    ):
        low, high = np.minimum(low, least), np.maximum(high, greatest)
    for i, (name, tensor) in enumerate(known.items()):
        trained = ranges[tensor]
        # Ranges hold zero; data need not.
        wide = max(high[i], 0) - min(low[i], 0)
        ratio = wide / (trained.high - trained.low)
        # Data that are zero everywhere have a warning of their own.
        if wide and not 1 / _WIDER <= ratio <= _WIDER:
            behind = "" if "/" not in tensor else f" (at {tensor})"
            yield (
                f"representative_data of input {name!r} range from {low[i]:.3g} to "
                f"{high[i]:.3g}{behind}, in training it was {trained.low:.3g} to "
                f"{trained.high:.3g}. Scale the data as in training."
            )


def _first_trained(graph: Graph, ranges: dict[str, Range], name: str) -> str | None:
    users = graph.users()
    reached = {name}
    for tensor, entry in ranges.items():
        if tensor == name and entry.source == "trained":
            return tensor
    for node in graph.nodes.values():  # topological: the first one met is the nearest
        if not any(node_name(t) in reached for t in node.input):
            continue
        reached.add(node.name)
        entry = ranges.get(node.name)
        if entry is not None and entry.source == "trained" and users[node.name]:
            return node.name
    return None
