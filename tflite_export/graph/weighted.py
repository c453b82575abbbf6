"""Nodes that multiply with weights: which operand, which axis is which."""

import numpy as np

from qsparse.tflite_export.graph.graph import Graph, Node
from qsparse.tflite_export.graph.ops import WEIGHTED


def by_channel(node: Node, weights: np.ndarray) -> np.ndarray:
    """Returns constant weights as a view of shape (outputs, weights per output).

    The order within an output is that of a LiteRT file.

    Args:
        node: a node of one of the `WEIGHTED` ops.
        weights: its constant second input, rank 2 for a matrix product.
    """
    if node.op == "Conv2D":
        return weights.transpose(3, 0, 1, 2).reshape(weights.shape[3], -1)
    if node.op == "Conv2DBackpropInput":
        return weights.transpose(2, 0, 1, 3).reshape(weights.shape[2], -1)
    if node.op == "DepthwiseConv2dNative":
        return weights.reshape(-1, weights.shape[2] * weights.shape[3]).T
    return weights if is_transposed(node) else weights.T


def data_input(node: Node) -> str:
    """Returns the tensor that a node of the `WEIGHTED` ops multiplies weights with."""
    return node.input[2 if node.op == "Conv2DBackpropInput" else 0]


def over_weights(node: Node, weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Returns one value per channel in a shape that broadcasts over the weights."""
    if node.op == "DepthwiseConv2dNative":
        return values.reshape(1, 1, *weights.shape[2:])
    if node.op == "Conv2DBackpropInput" or is_transposed(node):
        return values[:, None]
    return values


def is_transposed(node: Node) -> bool:
    """Whether a matrix product takes its second operand as (outputs, inputs)."""
    attribute = "transpose_b" if node.op == "MatMul" else "adj_y"
    return attribute in node.attr and node.attr[attribute].b


def channel_count(graph: Graph, node: Node) -> int | None:
    """Returns the number of output channels of a node with constant weights."""
    if node.op not in WEIGHTED or not graph.is_constant(node.input[1]):
        return None
    shape = graph.shapes[node.input[1]]
    if node.op == "DepthwiseConv2dNative":
        return shape[2] * shape[3]
    if node.op == "Conv2DBackpropInput":
        return shape[2]
    if node.op == "BatchMatMulV2" and len(shape) > 2:
        return None  # one matrix per batch entry: no weights of a layer
    return shape[-2] if is_transposed(node) else shape[-1]


def multiplies(graph: Graph, node: Node) -> bool:
    """Whether the second operand of a node can be told apart by output channel."""
    if node.op == "Einsum":
        return _einsum_axes(node) is not None
    plain = node.op != "BatchMatMulV2" or len(graph.shapes[node.input[1]]) == 2
    return node.op in WEIGHTED and plain


def rows_of(node: Node, weights: np.ndarray) -> np.ndarray:
    """Returns what a node multiplies with as (outputs, weights per output).

    Args:
        node: a node that `multiplies`.
        weights: of the shape of its second operand.
    """
    if node.op != "Einsum":
        return by_channel(node, weights)
    axes = _einsum_axes(node)
    if axes is None:
        raise ValueError(f"{node.name!r} has no weights by output channel.")
    outputs, inputs = axes
    size = int(np.prod([weights.shape[axis] for axis in outputs]))
    return weights.transpose(*outputs, *inputs).reshape(size, -1)


def _einsum_axes(node: Node) -> tuple[list[int], list[int]] | None:
    """Returns the axes of the right operand that are outputs and that are summed."""
    left, result = node.attr["equation"].s.decode().replace("...", "").split("->")
    operands = left.split(",")
    if len(operands) != 2:
        return None
    data, weights = operands
    outputs = [weights.index(c) for c in result if c in weights]
    inputs = [weights.index(c) for c in data if c in weights]
    apart = not set(outputs) & set(inputs)
    return (
        (outputs, inputs) if apart and len(outputs + inputs) == len(weights) else None
    )
