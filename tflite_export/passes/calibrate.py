"""Ranges of tensors that training did not see, from representative samples."""

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import tensorflow as tf

from qsparse.tflite_export.graph.composites import Gate
from qsparse.tflite_export.graph.graph import FAKE_QUANT, Graph, node_name
from qsparse.tflite_export.graph.ops import LOOKUPS
from qsparse.tflite_export.graph.ranges import Range, kept_from
from qsparse.tflite_export.graph.run import measure
from qsparse.tflite_export.passes.base import Context
from qsparse.tflite_export.passes.insert_ranges import insert, limits
from qsparse.tflite_export.passes.masks import (
    least_score,
    limit_masks,
    score_tensors,
)
from qsparse.tflite_export.passes.one_scale import share_ranges
from qsparse.tflite_export.passes.safe_scales import widen

# |gelu(-4)| is 1e-4, and hard-swish is zero below -3.
_GATE_IS_SHUT = -4.0
_SHUT = 1e-3  # greatest magnitude behind a gate that is shut


def calibrate(graph: Graph, context: Context) -> None:
    """Gives every tensor the least and the greatest value it takes on the samples.

    They are measured with the trained ranges already in effect.

    Args:
        graph: the graph; fake-quant nodes with the known ranges are put into it.
        context: its empty ranges are filled.

    Raises:
        ValueError: a tensor is not finite.
    """
    ranges = context.ranges
    known = {t for t, r in ranges.items() if r.source != "calibrated"}
    insert(graph, context, known)
    missing = {t: r for t, r in ranges.items() if t not in known}
    measured = _measure(graph, missing, context.composites.gates, context.batches)
    context.ranges = ranges = {t: ranges[t] for t in ranges if t in known} | measured
    share_ranges(graph, ranges)
    for tensor in widen(graph, ranges) & known:
        _set_limits(graph, tensor, ranges[tensor])


def count_sources(ranges: dict[str, Range]) -> dict[str, int]:
    """Returns how many ranges were trained, calibrated and fixed."""
    counts = {"trained": 0, "calibrated": 0, "fixed": 0}
    for entry in ranges.values():
        counts[entry.source] += 1
    return counts


def _measure(
    graph: Graph,
    missing: dict[str, Range],
    gates: list[Gate],
    batches: Iterable[list[np.ndarray]],
) -> dict[str, Range]:
    """Runs the graph and returns the range each tensor takes."""
    tensors = list(missing)
    if not tensors:
        return {}

    scores = score_tensors(graph)

    def extremes(get: Callable[[str], tf.Tensor]) -> tuple[tf.Tensor, ...]:
        values = {tensor: get(tensor) for tensor in tensors}
        lows = [
            tf.reduce_min([least_score(get(read)) for read in scores[tensor]])
            if tensor in scores
            else tf.reduce_min(value)
            for tensor, value in values.items()
        ]
        highs = [tf.reduce_max(value) for value in values.values()]
        return tf.stack(lows), tf.stack(highs), open_from(get)

    def open_from(get: Callable[[str], tf.Tensor]) -> tf.Tensor:
        pairs = [(get(gate.base), get(gate.end)) for gate in gates]
        zero = tf.zeros((), tf.float32)
        return tf.stack(
            [tf.reduce_min(tf.where(tf.abs(y) > _SHUT, x, zero)) for x, y in pairs]
            or [zero]
        )

    low = np.full(len(tensors), np.inf)
    high = np.full(len(tensors), -np.inf)
    opening = np.zeros(max(len(gates), 1))
    for least, greatest, opened in measure(graph, extremes, batches):
        opening = np.minimum(opening, opened)
        low = np.minimum(low, least)
        high = np.maximum(high, greatest)
    for index, tensor in enumerate(tensors):
        table = _table(graph, tensor)
        if table is not None:  # every row, not only those the samples look up
            low[index], high[index] = table.min(), table.max()
        if not np.isfinite([low[index], high[index]]).all():
            raise ValueError(
                f"tensor {tensor!r} takes NaN or infinite values on "
                "representative_data, so it has no range. Check the weights and the "
                "scale of the data."
            )
    found = {
        tensor: replace(entry, low=float(low[i]), high=float(high[i]))
        for i, (tensor, entry) in enumerate(missing.items())
    }
    limit_masks(graph, found)
    # An activation of another form, such as x * tanh(x), may never shut.
    shut = [g for g, x in zip(gates, opening, strict=False) if x >= _GATE_IS_SHUT]
    _limit_gates(graph, shut, found)
    return {tensor: entry.nudged() for tensor, entry in found.items()}


def _limit_gates(graph: Graph, gates: list[Gate], ranges: dict[str, Range]) -> None:
    """Ends ranges where a gated activation is as good as zero below."""
    users = graph.users()
    outputs = set(graph.outputs.values())
    for gate in gates:
        tensor, readers = gate.base, gate.inside | {gate.end}
        while (
            tensor not in outputs and {user.name for user in users[tensor]} <= readers
        ):
            if tensor in ranges:
                ranges[tensor].low = max(ranges[tensor].low, _GATE_IS_SHUT)
            node = graph.nodes[node_name(tensor)]
            kept = kept_from(graph, node)
            if kept is None:
                break
            tensor, readers = kept, {node.name}


def _table(graph: Graph, tensor: str) -> np.ndarray | None:
    node = graph.nodes[node_name(tensor)]
    if node.op in LOOKUPS:
        return graph.constant(node.input[0])
    return None


def _set_limits(graph: Graph, tensor: str, entry: Range) -> None:
    for node in list(graph.nodes.values()):
        if node.op == FAKE_QUANT and node.input[0] == tensor:
            node.input[1:] = limits(graph, tensor, entry)
