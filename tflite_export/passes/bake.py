"""Puts the weights of a graph on the int8 grid the file will have."""

from collections.abc import Container

import numpy as np

from qsparse.tflite_export.graph.graph import FAKE_QUANT, Graph, Node, node_name
from qsparse.tflite_export.graph.ranges import kept_from
from qsparse.tflite_export.graph.weighted import (
    by_channel,
    channel_count,
    data_input,
    over_weights,
)


def bake_weights(graph: Graph, floating: Container[str] = ()) -> dict[str, np.ndarray]:
    """Rounds constant weights to the int8 grid the converter will choose.

    With this the graph, run in TensorFlow, is a reference for the file. Layers that
    were trained on a grid of their own are left alone.

    Args:
        graph: a simplified graph.
        floating: products that compute in float, whose weights stay float.

    Returns:
        Products by name -> the weights they had, where these were rounded.
    """
    exact: dict[str, np.ndarray] = {}
    for node in list(graph.nodes.values()):
        if channel_count(graph, node) is None or node.name in floating:
            continue
        if graph.is_trained(node.input[1]):
            continue
        weights = graph.value(node.input[1])
        rows = by_channel(node, weights)
        largest = np.abs(rows).max(axis=1)
        scale = np.where(largest > 0, largest, 1) / 127
        scale = over_weights(node, weights, scale).astype(weights.dtype)
        baked = np.rint(weights / scale) * scale
        exact[node.name] = weights
        node.input[1] = graph.add_constant(
            f"{node.name}/int8", baked, like=node.input[1]
        )
    graph.refresh()
    return exact


def bake_biases(graph: Graph) -> None:
    """Rounds biases to the int32 grid of the file, where they are read in int8.

    Args:
        graph: a graph with rounded weights and all its fake-quant nodes.
    """
    for node in list(graph.nodes.values()):
        if node.op == "BiasAdd" and graph.is_constant(node.input[1]):
            _bake_bias(graph, node)
            _break_splat(graph, node)
    graph.refresh()


def _bake_bias(graph: Graph, node: Node) -> None:
    head = graph.nodes[node_name(node.input[0])]
    if channel_count(graph, head) is None:
        return
    source = graph.nodes[node_name(data_input(head))]
    while (kept := kept_from(graph, source)) is not None:
        source = graph.nodes[node_name(kept)]
    if source.op != FAKE_QUANT:
        return
    low, high = (float(graph.value(limit)) for limit in source.input[1:])
    rows = by_channel(head, graph.value(head.input[1]))
    step = np.abs(rows).max(axis=1).astype(np.float64) / 127 * (high - low) / 255
    bias = graph.value(node.input[1])
    # Where all weights are zero, the converter finds a fine scale of its own.
    rounded = np.rint(bias / np.where(step > 0, step, 1)) * step
    baked = np.where(step > 0, rounded, bias).astype(bias.dtype)
    node.input[1] = graph.add_constant(f"{node.name}/int32", baked)


def _break_splat(graph: Graph, node: Node) -> None:
    """Makes a bias whose values are all equal differ by a rounding error.

    The converter (TensorFlow 2.21) stores such a bias as one value and quantizes it
    with the scale of the first channel, which is wrong for all others.
    """
    bias = graph.constant(node.input[1])
    if bias is None or bias.size < 2 or bias[0] == 0 or (bias != bias[0]).any():
        return
    bias = bias.copy()
    bias[-1] = np.nextafter(bias[-1], np.inf, dtype=bias.dtype)
    node.input[1] = graph.add_constant(f"{node.name}/distinct", bias)
