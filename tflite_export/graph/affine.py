"""Nodes that add a constant to a tensor, or multiply it by one."""

import numpy as np

from qsparse.tflite_export.graph.graph import Graph, Node
from qsparse.tflite_export.graph.ops import AFFINE


def affine_constant(graph: Graph, node: Node) -> tuple[str, str] | None:
    """Returns (variable input, constant input) of an affine node, or None."""
    if node.op not in AFFINE:
        return None
    left, right = node.input[:2]
    if graph.is_constant(right) and not graph.is_constant(left):
        return left, right
    swaps = node.op in ("Add", "AddV2", "Mul")
    if swaps and graph.is_constant(left) and not graph.is_constant(right):
        return right, left
    return None


def per_channel(
    graph: Graph, pair: tuple[str, str], channels: int
) -> np.ndarray | None:
    """Returns the constant as one value per channel, if it is one.

    Args:
        graph: the graph.
        pair: the (variable, constant) inputs of an affine node.
        channels: output channels of the op the node belongs to; they may be spread
            over several trailing axes of the variable, as in EinsumDense.
    """
    shape = graph.shapes[pair[0]]
    value = graph.value(pair[1])
    if value.ndim > len(shape) or -1 in shape:
        return None
    if value.size == 1:
        return np.full(channels, value.reshape(-1)[0], value.dtype)
    trailing = 1
    while trailing <= len(shape) and np.prod(shape[-trailing:]) < channels:
        trailing += 1
    if np.prod(shape[-trailing:]) != channels:
        return None
    lead = value.shape[:-trailing]
    if any(size != 1 for size in lead):
        return None
    kept = value.reshape(value.shape[len(lead) :])
    return np.ascontiguousarray(np.broadcast_to(kept, shape[-trailing:])).reshape(-1)
