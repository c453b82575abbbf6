"""Channels that are far larger than all others, and by how much.

Trained transformers have a few (Dettmers et al., "LLM.int8()", 2022; Sun et al.,
"Massive activations in large language models", 2024). An int8 tensor has one scale,
and on one with them the other channels round to zero.
"""

from collections.abc import Callable, Iterable

import numpy as np
import tensorflow as tf

from qsparse.tflite_export.graph.graph import Graph, Node, node_name
from qsparse.tflite_export.graph.run import measure
from qsparse.tflite_export.graph.weighted import (
    channel_count,
    is_transposed,
    over_weights,
)


def beyond_typical(largest: np.ndarray, typical: float = 1.0) -> np.ndarray:
    """Returns by how much each channel goes beyond a typical one.

    Args:
        largest: greatest magnitude of each channel.
        typical: multiple of the median up to which a channel counts as typical and
            keeps its scale.

    Returns:
        float32 factors of at least 1; empty if all are 1.
    """
    base = typical * np.median(largest)
    if base == 0 or largest.max() <= base:
        return np.zeros(0, np.float32)
    return (np.maximum(largest, base) / base).astype(np.float32)


def largest_per_channel(
    graph: Graph, tensors: list[str], batches: Iterable[list[np.ndarray]]
) -> list[np.ndarray]:
    """Returns the greatest magnitude along the last axis of each tensor."""
    if not tensors:
        return []

    def extremes(get: Callable[[str], tf.Tensor]) -> list[tf.Tensor]:
        return [
            tf.reduce_max(tf.abs(tf.reshape(get(t), (-1, graph.shapes[t][-1]))), axis=0)
            for t in tensors
        ]

    largest = [np.zeros(graph.shapes[t][-1]) for t in tensors]
    for found in measure(graph, extremes, batches):
        largest = [np.maximum(a, b) for a, b in zip(largest, found, strict=True)]
    return largest


def is_free_product(graph: Graph, node: Node) -> bool:
    """Whether this is `x @ weights` with weights that training put on no grid.

    Args:
        graph: a simplified graph.
        node: any node.
    """
    if node.op not in ("MatMul", "BatchMatMulV2") or is_transposed(node):
        return False
    if node.attr["transpose_a" if node.op == "MatMul" else "adj_x"].b:
        return False
    if not graph.is_constant(node.input[1]) or len(graph.shapes[node.input[1]]) != 2:
        return False
    return not graph.is_trained(node.input[1])


def keeps_last_axis(graph: Graph, node: Node) -> bool:
    """Whether a node leaves the last axis of its input as it is, if its size stays.

    True for reshapes, for slices and means along other axes.
    """
    if node.op == "Reshape":
        return True
    rank = len(graph.shapes[node.input[0]])
    if node.op == "Mean" and graph.is_constant(node.input[1]):
        return rank - 1 not in np.atleast_1d(graph.value(node.input[1])) % rank
    if node.op == "StridedSlice" and graph.is_constant(node.input[1]):
        count = len(graph.value(node.input[1]))
        whole = node.attr["begin_mask"].i & node.attr["end_mask"].i
        shrunk = node.attr["shrink_axis_mask"].i | node.attr["new_axis_mask"].i
        last = 1 << (count - 1)
        steps = graph.constant(node.input[3])
        if steps is None or (count == rank and steps[-1] != 1):
            return False
        kept = count < rank or (count == rank and whole & last and not shrunk & last)
        return bool(kept) and node.attr["ellipsis_mask"].i == 0
    return False


def produced_channels(
    graph: Graph, users: dict[str, list[Node]], node: Node
) -> int | None:
    """Returns the output channels of a layer with constant weights.

    Args:
        graph: a simplified graph.
        users: its `users()`.
        node: the BiasAdd of a layer, or a layer without one; None comes back for any
            other node.
    """
    if node.op == "BiasAdd":
        head = head_of(graph, node)
        alone = len(users[head.name]) == 1 and head.name not in graph.outputs.values()
        if not alone or not graph.is_constant(node.input[1]):
            return None
        return channel_count(graph, head)
    if any(user.op == "BiasAdd" for user in users[node.name]):
        return None
    return channel_count(graph, node)


def head_of(graph: Graph, node: Node) -> Node:
    """Returns the node with the weights of a layer, given its last node."""
    return graph.nodes[node_name(node.input[0])] if node.op == "BiasAdd" else node


def takes_factors(graph: Graph, node: Node, inputs: int) -> bool:
    """Whether `multiply_inputs` can be done to a node.

    Args:
        graph: a simplified graph.
        node: any node.
        inputs: how many channels it reads.
    """
    if channel_count(graph, node) is None:
        return False
    if node.op in ("Conv2D", "DepthwiseConv2dNative"):
        # Where an output has one input, the factor becomes part of its scale.
        alone = node.op == "DepthwiseConv2dNative"
        whole = graph.shapes[node.input[1]][2] == inputs
        return whole and (alone or not graph.is_trained(node.input[1]))
    return is_free_product(graph, node)


def multiply_inputs(graph: Graph, node: Node, factor: np.ndarray) -> None:
    """Multiplies the weights that read input channel c by factor c.

    Args:
        graph: the graph; changed in place.
        node: a layer that `takes_factors`.
        factor: one value per input channel.
    """
    # Input channels are the last axis but one of every kind of weights taken here.
    weights = graph.value(node.input[1]) * factor[:, None]
    node.input[1] = graph.add_constant(
        f"{node.name}/multiplied", weights, like=node.input[1]
    )


def divide_outputs(graph: Graph, node: Node, factor: np.ndarray) -> None:
    """Divides what a layer computes by a factor per channel.

    Weights keep their integers: the factor is part of their scale.

    Args:
        graph: the graph; changed in place.
        node: the BiasAdd of a layer, or a layer without one.
        factor: one value per output channel.
    """
    head = head_of(graph, node)
    if head is not node:
        bias = graph.value(node.input[1]) / factor
        node.input[1] = graph.add_constant(f"{node.name}/divided", bias)
    weights = graph.value(head.input[1])
    divided = weights / over_weights(head, weights, factor)
    head.input[1] = graph.add_constant(
        f"{head.name}/divided", divided, like=head.input[1]
    )
