"""Keeps the converter from multiplying trained weights by what stands before them.

In a file with float activations it turns `(x * gamma) @ W` into `x @ (gamma * W)`: one
product less, but the weights are then on no grid of training, and rounded anew.

    (x * r) * gamma  ->  x * (r * gamma)        a normalization: no op more
    x * 0.5          ->  x, the weights halved  they stay on their grid
    x * gamma        ->  maximum(x * gamma, the least float)
"""

import numpy as np
import tensorflow as tf

from qsparse.tflite_export.graph.affine import affine_constant
from qsparse.tflite_export.graph.graph import Graph, Node, node_name
from qsparse.tflite_export.graph.ops import RESHAPES, SCALINGS
from qsparse.tflite_export.graph.weighted import data_input, multiplies
from qsparse.tflite_export.passes.base import Context, Pass


class KeepApart(Pass):
    """Rewrites the products by constants that trained weights are multiplied with."""

    name = "keep_apart"

    def apply(self, graph: Graph, context: Context) -> None:
        """See the module."""
        for node in list(graph.nodes.values()):
            weighted = len(node.input) > 1 and node.input[1] in graph.kernels
            if not weighted or not multiplies(graph, node):
                continue
            product = _before(graph, data_input(node))
            pair = affine_constant(graph, product)
            if product.op not in SCALINGS or pair is None:
                continue
            factor = graph.value(pair[1])
            whole = graph.shapes[pair[0]] == graph.shapes[product.name]
            inner = graph.nodes[node_name(pair[0])]
            if factor.size == 1 and whole and product.name == data_input(node):
                _scale(graph, node, product, pair[0], factor.reshape(()))
            elif inner.op == "Mul" and affine_constant(graph, inner) is None:
                _reorder(graph, product, inner, pair[1])
            else:
                _wall(graph, node)
        graph.refresh()


def _before(graph: Graph, tensor: str) -> Node:
    node = graph.nodes[node_name(tensor)]
    while node.op in RESHAPES:
        node = graph.nodes[node_name(node.input[0])]
    return node


def _scale(
    graph: Graph, node: Node, product: Node, source: str, factor: np.ndarray
) -> None:
    weights = graph.value(node.input[1])
    scaled = weights * factor if product.op == "Mul" else weights / factor
    node.input[1] = graph.add_constant(
        f"{node.name}/scaled", scaled.astype(weights.dtype), like=node.input[1]
    )
    _read(node, source)


def _reorder(graph: Graph, product: Node, inner: Node, constant: str) -> None:
    small, large = sorted(inner.input, key=lambda t: np.prod(graph.shapes[t]))
    name = graph.add_node(
        f"{product.name}/factor", product.op, [small, constant], T=tf.float32
    )
    product.op = "Mul"
    product.input[:] = [large, name]


def _wall(graph: Graph, node: Node) -> None:
    least = np.asarray(np.finfo(np.float32).min, np.float32)
    limit = graph.add_constant(f"{node.name}/least", least)
    inputs = [data_input(node), limit]
    _read(node, graph.add_node(f"{node.name}/apart", "Maximum", inputs, T=tf.float32))


def _read(node: Node, tensor: str) -> None:
    node.input[2 if node.op == "Conv2DBackpropInput" else 0] = tensor
