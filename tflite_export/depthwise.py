"""Expresses what LiteRT would round twice as a depthwise convolution.

A convolution sums in int32 and rounds once, to a scale of its own.
"""

import numpy as np

from qsparse.tflite_export.graph import Graph, node_name
from qsparse.tflite_export.simplify import affine_constant, per_channel


def to_depthwise(graph: Graph, fixed: set[str]) -> None:
    """Rewrites affine maps per channel and average pools.

    Args:
        graph: a simplified graph; changed in place.
        fixed: tensors with a range of their own.
    """
    _lone_affine(graph, fixed)
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
    """Turns `x * a + b` per channel into a 1x1 depthwise convolution.

    A BatchNormalization with no convolution before it (pre-activation networks)
    would otherwise round its product to int8 before the sum.
    """
    users = graph.users()
    for node in list(graph.nodes.values()):
        pair = affine_constant(graph, node)
        if node.op not in ("Add", "AddV2", "Sub") or pair is None:
            continue
        product = graph.nodes[node_name(pair[0])]
        inner = affine_constant(graph, product)
        shape = graph.shapes[node.name]
        if (
            product.op != "Mul"
            or inner is None
            or product.name in fixed
            or len(users[product.name]) != 1
            or len(shape) != 4
            or graph.shapes[inner[0]] != shape
        ):
            continue
        scale = per_channel(graph, inner, shape[-1])
        shift = per_channel(graph, pair, shape[-1])
        if scale is None or shift is None:
            continue
        kernel = graph.add_constant(
            f"{product.name}/kernel", scale.reshape(1, 1, -1, 1)
        )
        product.op = "DepthwiseConv2dNative"
        product.input[:] = [inner[0], kernel]
        product.attr["strides"].list.i.extend([1, 1, 1, 1])
        product.attr["padding"].s = b"VALID"
        node_bias = -shift if node.op == "Sub" else shift
        node.op = "BiasAdd"
        node.input[:] = [
            product.name,
            graph.add_constant(f"{node.name}/bias", node_bias),
        ]
