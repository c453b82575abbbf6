"""Expresses what LiteRT would round twice as a depthwise convolution.

A convolution sums in int32 and rounds once, to a scale of its own.

    x * a + b  ->  DepthwiseConv2d(x, a) + b
    AvgPool(x) ->  DepthwiseConv2d(x, 1 / n)
"""

import numpy as np

from qsparse.tflite_export.graph.affine import affine_constant, per_channel
from qsparse.tflite_export.graph.graph import Graph, Node, node_name
from qsparse.tflite_export.graph.ops import SCALINGS
from qsparse.tflite_export.passes.base import Context, Pass


class ToDepthwise(Pass):
    """Rewrites affine maps per channel, and average pools."""

    name = "to_depthwise"

    def apply(self, graph: Graph, context: Context) -> None:
        """See the module."""
        _lone_affine(graph, context.fixed | context.affine)
        _average_pools(graph)
        graph.refresh()


def _average_pools(graph: Graph) -> None:
    """Turns average pools into convolutions with equal weights.

    AVERAGE_POOL_2D must keep the scale of its input, though an average spans less;
    and the runtimes disagree on how it rounds a tie.
    """
    for node in list(graph.nodes.values()):
        if node.op != "AvgPool":
            continue
        _, height, width, channels = graph.shapes[node.input[0]]
        _, rows, columns, _ = node.attr["ksize"].list.i
        _, down, right, _ = node.attr["strides"].list.i
        whole = height % down == 0 and width % right == 0
        tiles = whole and (rows, columns) == (down, right)
        if down != right or (node.attr["padding"].s == b"SAME" and not tiles):
            continue  # next to padding an average counts fewer pixels
        dtype = graph.dtypes[node.name].as_numpy_dtype
        kernel = np.full((rows, columns, channels, 1), 1 / (rows * columns), dtype)
        node.op = "DepthwiseConv2dNative"
        node.input.append(graph.add_constant(f"{node.name}/kernel", kernel))
        node.attr["padding"].s = b"VALID"
        del node.attr["ksize"]


def _lone_affine(graph: Graph, fixed: set[str]) -> None:
    """Turns `x * a + b` or `(x - m) / s` per channel into a 1x1 depthwise convolution.

    A BatchNormalization with no convolution before it (pre-activation networks), or a
    Normalization, would otherwise round between its two steps.
    """
    users = graph.users()
    for node in list(graph.nodes.values()):
        pair = affine_constant(graph, node)
        if pair is None:
            continue
        first = graph.nodes[node_name(pair[0])]
        inner = affine_constant(graph, first)
        shape = graph.shapes[node.name]
        if (
            inner is None
            or (first.op in SCALINGS) == (node.op in SCALINGS)
            or first.name in fixed
            or len(users[first.name]) != 1
            or len(shape) != 4
            or graph.shapes[inner[0]] != shape
        ):
            continue
        before = _scale_and_shift(graph, first, inner, shape[-1])
        after = _scale_and_shift(graph, node, pair, shape[-1])
        if before is None or after is None:
            continue
        scale, shift = before[0] * after[0], before[1] * after[0] + after[1]
        kernel = graph.add_constant(f"{first.name}/kernel", scale.reshape(1, 1, -1, 1))
        first.op = "DepthwiseConv2dNative"
        first.input[:] = [inner[0], kernel]
        first.attr["strides"].list.i.extend([1, 1, 1, 1])
        first.attr["padding"].s = b"VALID"
        node.op = "BiasAdd"
        node.input[:] = [first.name, graph.add_constant(f"{node.name}/bias", shift)]


def _scale_and_shift(
    graph: Graph, node: Node, pair: tuple[str, str], channels: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """Returns the scale and the shift per channel of an affine node."""
    value = per_channel(graph, pair, channels)
    if value is None:
        return None
    if node.op in SCALINGS:
        scale = value if node.op == "Mul" else 1 / value
        return scale, np.zeros_like(value)
    return np.ones_like(value), -value if node.op == "Sub" else value
