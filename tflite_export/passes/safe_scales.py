"""Ranges so narrow that LiteRT would refuse the file are widened.

A layer multiplies its int32 sums by `input scale * weight scale / output scale`, which
XNNPACK takes only below 256; beyond, it refuses the whole file, and LiteRT's own
addition ends the process. It comes from tensors that died in training, whose range
shrank to nothing. What is that narrow beside its inputs is noise in all of its values,
so a wider range loses nothing.
"""

from dataclasses import replace

import numpy as np

from qsparse.tflite_export.graph.graph import FAKE_QUANT, Graph, Node, node_name
from qsparse.tflite_export.graph.ops import (
    ACTIVATIONS,
    JOINS,
    LIKE_INPUT,
    ONE_SCALE,
    PRODUCTS,
    SUMS,
)
from qsparse.tflite_export.graph.ranges import Range, root_of
from qsparse.tflite_export.graph.weighted import by_channel, channel_count, data_input

_MOST = 128.0  # half of what XNNPACK takes


def widen(graph: Graph, ranges: dict[str, Range]) -> set[str]:
    """Widens the ranges of tensors that are too narrow for what computes them.

    Args:
        graph: a graph with or without its fake-quant nodes.
        ranges: tensor -> range; changed in place.

    Returns:
        The tensors with another range than before.
    """
    widened = set()
    for node in graph.nodes.values():  # topological: inputs are wide enough by now
        root = _root(graph, node.name)
        entry = ranges.get(root)
        least = 0.0 if entry is None else _greatest_step(graph, ranges, node) / _MOST
        if entry is None or entry.source == "fixed" or _step(entry) >= least:
            continue
        factor = least / max(_step(entry), np.finfo(np.float64).tiny)
        low, high = entry.low * factor, entry.high * factor
        if not np.isfinite([low, high]).all():
            low, high = entry.grid.around(0.0, entry.grid.steps * least)
        ranges[root] = replace(entry, low=low, high=high)
        widened.add(root)
    return widened


def _greatest_step(graph: Graph, ranges: dict[str, Range], node: Node) -> float:
    """Returns the most that one integer step of its inputs moves a node's result."""
    head = node
    while head.op in ACTIVATIONS | {"BiasAdd", FAKE_QUANT}:
        head = graph.nodes[node_name(head.input[0])]
    if channel_count(graph, head) is not None:
        rows = by_channel(head, graph.value(head.input[1]))
        weight = np.abs(rows).max(initial=0.0) / 127
        return weight * _step(ranges.get(_root(graph, data_input(head))))
    steps = [_step(ranges.get(_root(graph, t))) for t in head.input]
    if head.op in PRODUCTS | {"Mul"}:
        return float(np.prod(steps)) if len(steps) == 2 else 0.0
    like_input = SUMS | LIKE_INPUT | {"Sub"} | JOINS | ONE_SCALE
    return max(steps, default=0.0) if head.op in like_input else 0.0


def _root(graph: Graph, tensor: str) -> str:
    """Returns the tensor that has the range of `tensor`."""
    root = root_of(graph, tensor)
    node = graph.nodes[node_name(root)]
    return _root(graph, node.input[0]) if node.op == FAKE_QUANT else root


def _step(entry: Range | None) -> float:
    return 0.0 if entry is None else entry.step
