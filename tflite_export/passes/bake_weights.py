"""Puts the weights of a graph on the int8 grid the file will have.

W  ->  rint(W / s) * s, with s = max|W| / 127 of each output channel
"""

import numpy as np

from qsparse.tflite_export.graph.graph import Graph, Node
from qsparse.tflite_export.graph.weighted import (
    by_channel,
    channel_count,
    over_weights,
)
from qsparse.tflite_export.passes.base import ROUNDING, Context, Pass


class BakeWeights(Pass):
    """Rounds constant weights to the int8 grid the converter will choose.

    With this the graph, run in TensorFlow, is a reference for the file. Layers that
    were trained on a grid of their own are left alone, and so are the weights of
    products that compute in float.
    """

    name = "bake_weights"
    tolerance = ROUNDING

    def apply(self, graph: Graph, context: Context) -> None:
        """See the class."""
        for node in list(graph.nodes.values()):
            if channel_count(graph, node) is None or node.name in context.apart:
                continue
            if graph.is_trained(node.input[1]):
                continue
            weights = graph.value(node.input[1])
            context.unrounded[node.name] = weights
            node.input[1] = graph.add_constant(
                f"{node.name}/int8", _on_grid(node, weights), like=node.input[1]
            )
        graph.refresh()


def _on_grid(node: Node, weights: np.ndarray) -> np.ndarray:
    largest = np.abs(by_channel(node, weights)).max(axis=1)
    scale = np.where(largest > 0, largest, 1) / 127
    scale = over_weights(node, weights, scale).astype(weights.dtype)
    return np.rint(weights / scale) * scale
