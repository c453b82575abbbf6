"""Folds bias, scale and BatchNormalization chains into the op before them.

The converter has patterns for this too, but each has conditions of its own (a bias
of rank two after a reshape stays an unfused ADD, a scale after a bias may turn the
op to float). Done here, every convolution and matrix product leaves in one shape:
`op -> BiasAdd -> activation -> Reshape`, and the reference run in TensorFlow uses
the very weights the file is made of.

    op -> reshape -> add       ->  op -> BiasAdd -> reshape
    op -> BiasAdd -> mul, add  ->  op' -> BiasAdd'
"""

import numpy as np

from qsparse.tflite_export.graph.affine import affine_constant, per_channel
from qsparse.tflite_export.graph.graph import Graph, Node, node_name
from qsparse.tflite_export.graph.ops import ACTIVATIONS, RESHAPES
from qsparse.tflite_export.graph.weighted import channel_count, over_weights
from qsparse.tflite_export.passes.base import Context, Pass


class Simplify(Pass):
    """Folds until nothing more folds; never across a tensor with a trained range."""

    name = "simplify"

    def apply(self, graph: Graph, context: Context) -> None:
        """See the module."""
        fixed = context.fixed
        _drop_neutral(graph)
        while _hoist_over_reshape(graph, fixed) or _fold_affine(graph, fixed):
            pass
        graph.refresh()


def _drop_neutral(graph: Graph) -> None:
    """Removes products with one and sums with zero (`swish` multiplies by beta)."""
    for node in list(graph.nodes.values()):
        pair = affine_constant(graph, node)
        if pair is None or graph.shapes[node.name] != graph.shapes[pair[0]]:
            continue
        neutral = 1 if node.op in ("Mul", "RealDiv") else 0
        if np.all(graph.value(pair[1]) == neutral):
            graph.replace(node.name, pair[0])


def _head_channels(graph: Graph, tensor: str) -> int | None:
    """Returns the channels of the op a chain `op [-> BiasAdd] [-> activation]` ends.

    None if no op with constant weights stands at its start.
    """
    node = graph.nodes[node_name(tensor)]
    while node.op in ACTIVATIONS | {"BiasAdd"}:
        node = graph.nodes[node_name(node.input[0])]
    return channel_count(graph, node)


def _hoist_over_reshape(graph: Graph, fixed: set[str]) -> bool:
    """Moves one element-wise node from behind a reshape to before it."""
    users = graph.users()
    for reshape in graph.nodes.values():
        if reshape.op not in RESHAPES:
            continue
        source = str(reshape.input[0])
        if (
            reshape.name in fixed
            or len(users[reshape.name]) != 1
            or len(users[source]) != 1
            or source in fixed
            or source in graph.outputs.values()
            or reshape.name in graph.outputs.values()
            or (channels := _head_channels(graph, source)) is None
        ):
            continue
        node = users[reshape.name][0]
        pair = affine_constant(graph, node)
        if pair is not None:
            value = per_channel(graph, pair, channels)
            if value is None:
                continue
            constant = graph.add_constant(f"{node.name}/flat", value)
            node.input[:] = [source, constant]
            if node.op == "BiasAdd":
                node.op = "AddV2"
                node.attr.pop("data_format", None)
        elif node.op in ACTIVATIONS:
            node.input[0] = source
        else:
            continue
        graph.rewire(node.name, reshape.name)
        reshape.input[0] = node.name
        graph.shapes[node.name] = graph.shapes[source]
        return True
    return False


def _fold_affine(graph: Graph, fixed: set[str]) -> bool:
    """Folds one affine node into the weights and bias before it."""
    users = graph.users()
    for node in graph.nodes.values():
        pair = affine_constant(graph, node)
        if pair is None or pair[0] in fixed or pair[0] in graph.outputs.values():
            continue
        before = graph.nodes[node_name(pair[0])]
        bias = None
        op = before
        if before.op == "BiasAdd" and graph.is_constant(before.input[1]):
            bias = graph.value(before.input[1])
            op = graph.nodes[node_name(before.input[0])]
            if before.input[0] in fixed or len(users[op.name]) != 1:
                continue
        channels = channel_count(graph, op)
        if channels is None or len(users[pair[0]]) != 1:
            continue
        if bias is None and node.op == "BiasAdd":
            continue  # the form everything else is brought to
        value = per_channel(graph, pair, channels)
        if value is None or graph.shapes[node.name] != graph.shapes[pair[0]]:
            continue
        if bias is None:
            bias = np.zeros(channels, value.dtype)
        if node.op in ("Mul", "RealDiv"):
            factor = value if node.op == "Mul" else 1 / value
            _scale_weights(graph, op, factor)
            bias = bias * factor
        else:
            bias = bias - value if node.op == "Sub" else bias + value
        name = graph.add_constant(f"{node.name}/bias", bias)
        node.op = "BiasAdd"
        node.input[:] = [op.name, name]
        if before is not op:
            del graph.nodes[before.name]
        return True
    return False


def _scale_weights(graph: Graph, op: Node, factor: np.ndarray) -> None:
    weights = graph.value(op.input[1])
    factor = over_weights(op, weights, factor)
    scaled = weights * factor
    op.input[1] = graph.add_constant(f"{op.name}/scaled", scaled, like=op.input[1])
