"""What stays in float at both ends of a network whose inputs and outputs are float.

A scale and a shift per channel straight on an input (a Normalization, a
BatchNormalization, arithmetics) bring features of different sizes to one; rounded
before, to one scale, the small ones are gone. And what is concatenated last, say boxes
in pixels and scores in [0, 1], need not share a scale: every part is dequantized from
its own, and joined in float.

    layer(x * a + b) in int8      ->  layer(q(x * a + b)), the affine part in float
    Concat(boxes, scores) in int8 ->  Concat(float(boxes), float(scores))
"""

from collections.abc import Iterable

import numpy as np

from qsparse.tflite_export.graph.affine import affine_constant
from qsparse.tflite_export.graph.graph import Graph, Node, node_name
from qsparse.tflite_export.graph.ops import JOINS, MOVES
from qsparse.tflite_export.passes.base import Context, Pass
from qsparse.tflite_export.passes.one_scale import dequantized


class FloatEnds(Pass):
    """Keeps the ends of a network in float, where those of the file are float."""

    name = "float_ends"

    def apply(self, graph: Graph, context: Context) -> None:
        """See the module."""
        context.uneven = _uneven_inputs(graph)
        if not context.float_ends:
            return
        context.joins = _float_joins(graph)
        for tensor in context.joins:
            context.trained.drop(tensor)  # every part has one
        context.affine = leading_affine(graph)


def leading_affine(graph: Graph, inputs: Iterable[str] | None = None) -> set[str]:
    """Finds the chains of sums and products with constants that begin at an input.

    Args:
        graph: a simplified graph.
        inputs: where they may begin; None: at any input.

    Returns:
        Names of their nodes; the inputs are not among them.
    """
    users = graph.users()
    starts = graph.inputs.values() if inputs is None else inputs
    return set().union(*(_chain(graph, users, start) for start in starts))


def _uneven_inputs(graph: Graph) -> set[str]:
    """Finds the inputs with a leading chain that is not the same for all channels."""
    users = graph.users()
    return {
        start
        for start in graph.inputs.values()
        if any(_per_channel(graph, node) for node in _chain(graph, users, start))
    }


def _float_joins(graph: Graph) -> set[str]:
    """Takes the concatenations that are outputs, as they are or moved, out of int8.

    Args:
        graph: a simplified graph; changed in place.

    Returns:
        Names of the nodes, of those that only move what they make, of concatenations
        that only they read, and of the nodes added in front of them.
    """
    joins = _last_joins(graph)
    made = set()
    for name in joins:
        node = graph.nodes[name]
        for position, source in enumerate(_operands(node)):
            if node.op in JOINS and node_name(source) not in joins:
                node.input[position] = dequantized(graph, source)
                made.add(node.input[position])
    graph.refresh()
    return joins | made


def _last_joins(graph: Graph) -> set[str]:
    users = graph.users()
    found: set[str] = set()
    for output in graph.outputs.values():
        moved: set[str] = set()
        tensor = output
        while graph.nodes[node_name(tensor)].op in MOVES and not users[tensor]:
            node = graph.nodes[node_name(tensor)]
            moved.add(node.name)
            tensor = node.input[0]
            if len(users[tensor]) != 1:
                break
            users[tensor] = []  # read by what has been taken
        joined = _joined(graph, users, tensor)
        if joined:
            found |= joined | moved
    return found


def _chain(graph: Graph, users: dict, start: str) -> set[str]:
    """Returns the affine nodes that read an input, or each other, one by one."""
    found: set[str] = set()
    waiting = [start]
    while waiting:
        tensor = waiting.pop()
        for node in users[tensor]:
            pair = affine_constant(graph, node)
            cast = node.op == "Cast" and graph.dtypes[node.name].is_floating
            if cast and tensor == start:
                waiting.append(node.name)
            elif pair is not None and pair[0] == tensor:
                if graph.dtypes[tensor].is_floating and node.name not in found:
                    found.add(node.name)
                    waiting.append(node.name)
    return found


def _per_channel(graph: Graph, name: str) -> bool:
    pair = affine_constant(graph, graph.nodes[name])
    return pair is not None and np.unique(graph.value(pair[1])).size > 1


def _joined(graph: Graph, users: dict, tensor: str) -> set[str]:
    """Returns a concatenation nothing in the graph reads, and those it is made of."""
    node = graph.nodes[node_name(tensor)]
    if node.op not in JOINS or users[tensor] or not graph.dtypes[tensor].is_floating:
        return set()
    found = {node.name}
    for source in _operands(node):
        if users[source] == [node] and source not in graph.outputs.values():
            users[source] = []
            found |= _joined(graph, users, source)
    return found


def _operands(node: Node) -> list[str]:
    return list(node.input[:-1] if node.op == "ConcatV2" else node.input)
