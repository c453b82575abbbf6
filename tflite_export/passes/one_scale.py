"""Ops whose int8 operands and result LiteRT has on one scale.

A maximum, a selection or a concatenation copies integers. The converter rounds operands
on other scales once more, to that of the result. Operands that nothing else reads can
have it at once: what lies beyond the range of the result is not selected, or cut there
anyway.
"""

from dataclasses import replace

import numpy as np
import tensorflow as tf

from qsparse.tflite_export.graph.graph import Graph, Node, node_name
from qsparse.tflite_export.graph.ops import JOINS, ONE_SCALE
from qsparse.tflite_export.graph.ranges import Range, root_of


def share_ranges(graph: Graph, ranges: dict[str, Range]) -> None:
    """Gives operands that nothing else reads the range of the result.

    Args:
        graph: the graph before the last fake-quant nodes.
        ranges: tensor -> range; calibrated ones are changed in place.
    """
    users = graph.users()
    outputs = set(graph.outputs.values())
    for node in reversed(list(graph.nodes.values())):
        entry = ranges.get(node.name)
        if node.op not in ONE_SCALE | JOINS or entry is None:
            continue
        for operand in _operands(graph, node):
            root = root_of(graph, operand)
            known = ranges.get(root)
            alone = users[root] == [node] and root == operand and root not in outputs
            if alone and known is not None and known.source == "calibrated":
                ranges[root] = replace(known, low=entry.low, high=entry.high)


def dequantized(graph: Graph, tensor: str) -> str:
    """Returns the same values behind a node that the converter leaves in float.

    It gives a concatenation, or a maximum, the scale of any input that has one, and so
    the others too. A sum, here over an axis of length one, it leaves alone.
    """
    shape = np.array([*graph.shapes[tensor], 1], np.int32)
    longer = graph.add_node(
        f"{node_name(tensor)}/longer",
        "Reshape",
        [tensor, graph.add_constant(f"{node_name(tensor)}/longer/shape", shape)],
        T=graph.dtypes[tensor],
        Tshape=tf.int32,
    )
    axis = np.array([len(shape) - 1], np.int32)
    return graph.add_node(
        f"{node_name(tensor)}/float",
        "Sum",
        [longer, graph.add_constant(f"{node_name(tensor)}/float/axis", axis)],
        T=graph.dtypes[tensor],
        Tidx=tf.int32,
        keep_dims=False,
    )


def read_back(graph: Graph, tensor: str) -> str:
    """Returns the tensor that `dequantized` made another of; else the tensor itself."""
    node = graph.nodes[node_name(tensor)]
    longer = graph.nodes[node_name(node.input[0])] if node.op == "Sum" else node
    if longer is node or longer.op != "Reshape":
        return tensor
    source = longer.input[0]
    return source if graph.shapes[source] == graph.shapes[tensor] else tensor


def _operands(graph: Graph, node: Node) -> list[str]:
    return [
        tensor
        for tensor in dict.fromkeys(node.input)
        if graph.dtypes[tensor].is_floating and not graph.is_constant(tensor)
    ]
