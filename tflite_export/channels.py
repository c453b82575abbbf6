"""Channels that are far larger than all others, and by how much.

Trained transformers have a few (Dettmers et al., "LLM.int8()", 2022; Sun et al.,
"Massive activations in large language models", 2024). An int8 tensor has one scale,
and on one with them the other channels round to zero.
"""

from collections.abc import Callable, Iterable

import numpy as np
import tensorflow as tf

from qsparse.tflite_export.bake import on_grid
from qsparse.tflite_export.graph import Graph, Node
from qsparse.tflite_export.simplify import by_channel, is_transposed


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

    function = graph.function(extremes)
    largest = [np.zeros(graph.shapes[t][-1]) for t in tensors]
    for batch in batches:
        largest = [
            np.maximum(a, b) for a, b in zip(largest, function(*batch), strict=True)
        ]
    return largest


def is_free_product(graph: Graph, node: Node, trained: list[np.ndarray]) -> bool:
    """Whether this is `x @ weights` with weights that training put on no grid.

    Args:
        graph: a simplified graph.
        node: any node.
        trained: int8 weights (outputs, weights per output) of compressed layers.
    """
    if node.op not in ("MatMul", "BatchMatMulV2") or is_transposed(node):
        return False
    if node.attr["transpose_a" if node.op == "MatMul" else "adj_x"].b:
        return False
    if not graph.is_constant(node.input[1]) or len(graph.shapes[node.input[1]]) != 2:
        return False
    rows = by_channel(node, graph.value(node.input[1]))
    return not any(rows.shape == q.shape and on_grid(rows, q) for q in trained)
