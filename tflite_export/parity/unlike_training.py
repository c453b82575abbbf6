"""Whether data reach a model, and its layers, as in training.

A file made on data of another scale agrees with its model on those data, and is wrong
on the user's. What training saw is on record: the ranges it left.
"""

from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from qsparse.tflite_export.graph.graph import Graph, node_name
from qsparse.tflite_export.graph.ranges import Range
from qsparse.tflite_export.graph.run import measure

# Of the width of a trained range; samples of one kind differ by less.
_WIDER = 4.0
_FILLED = 8.0
_BEYOND = 1.5
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
    spans = _spans(graph, list(known.values()), batches)
    for (name, tensor), (low, high) in zip(known.items(), spans, strict=True):
        trained = ranges[tensor]
        ratio = _ratio(trained, low, high)
        # Data that are zero everywhere have a warning of their own.
        if ratio and not 1 / _WIDER <= ratio <= _WIDER:
            behind = "" if "/" not in tensor else f" (at {tensor})"
            seen = f"{trained.low:.3g} to {trained.high:.3g}"
            if trained.grid.symmetric:
                seen = f"up to {trained.high:.3g} from zero"
            yield (
                f"representative_data of input {name!r} range from {low:.3g} to "
                f"{high:.3g}{behind}, in training it was {seen}. Scale the data as in "
                "training."
            )


def unlike_ranges(
    graph: Graph, ranges: dict[str, Range], batches: list[list[np.ndarray]]
) -> Iterator[str]:
    """Yields a sentence if the layers compute other values than they did in training.

    It says why a file is far from its model: values that fill an eighth of a range
    have three bits less, values beyond it are clipped.

    Args:
        graph: the fake-quantized graph.
        ranges: tensor -> range.
        batches: the data, one list of inputs per batch.
    """
    trained = {t: r for t, r in ranges.items() if r.source == "trained"}
    if not trained:
        return
    spans = _spans(graph, list(trained), batches)
    ratios = {
        tensor: _ratio(entry, low, high)
        for (tensor, entry), (low, high) in zip(trained.items(), spans, strict=True)
    }
    for off, what in (
        ([t for t, r in ratios.items() if 0 < r < 1 / _FILLED], "an eighth or less of"),
        ([t for t, r in ratios.items() if r > _BEYOND], f"over {_BEYOND:g} times"),
    ):
        if off:
            yield (
                f"values fill {what} their trained range at {len(off)} of "
                f"{len(trained)} places, first at {off[0]}: the model computes other "
                "values now than while its ranges were learned. Train longer; "
                "BatchNormalization needs some hundred steps until its moving "
                "statistics are those of training."
            )


def _spans(
    graph: Graph, tensors: list[str], batches: list[list[np.ndarray]]
) -> list[tuple[float, float]]:
    """Returns the least and greatest value of each tensor."""
    low, high = np.full(len(tensors), np.inf), np.full(len(tensors), -np.inf)
    for least, greatest in measure(
        graph,
        lambda get: (
            tf.stack([tf.reduce_min(get(t)) for t in tensors]),
            tf.stack([tf.reduce_max(get(t)) for t in tensors]),
        ),
        batches[:_BATCHES],
    ):
        low, high = np.minimum(low, least), np.maximum(high, greatest)
    return list(zip(low.tolist(), high.tolist(), strict=True))


def _ratio(trained: Range, low: float, high: float) -> float:
    """Returns the width of what a tensor takes in parts of its trained range.

    Ranges hold zero; data need not. Of a symmetric one it is the longer side that was
    found in training.
    """
    if trained.grid.symmetric:
        return max(high, -low, 0.0) / trained.high
    return (max(high, 0.0) - min(low, 0.0)) / (trained.high - trained.low)


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
        met = ranges.get(node.name)
        if met is not None and met.source == "trained" and users[node.name]:
            return node.name
    return None
