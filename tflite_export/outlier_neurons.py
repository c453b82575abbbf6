"""Neurons that alone stretch the range of a hidden layer, computed apart.

In `second(gelu(first(x)))` one neuron of a trained transformer may reach 25 where all
others stay below 6. It goes through a pair of tiny layers of its own, on scales of its
own, and the two results meet in a float sum.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from qsparse.tflite_export.channels import is_free_product, largest_per_channel
from qsparse.tflite_export.choices import Choices
from qsparse.tflite_export.composites import Gate
from qsparse.tflite_export.graph import Graph, Node, node_name

_STANDS_OUT = 1.5  # times the largest of the others
_MOST = 8  # neurons of a layer; more are no exception


@dataclass(frozen=True)
class _Hidden:
    """A hidden layer between two products.

    Attributes:
        gate: its activation.
        first: the product before it.
        bias: the BiasAdd between.
        second: the product behind it.
        sum: the float sum that the result goes to.
        operand: the tensor it reads there.
    """

    gate: Gate
    first: Node
    bias: Node
    second: Node
    sum: Node
    operand: str


def split_outliers(
    graph: Graph,
    gates: list[Gate],
    sums: set[str],
    fixed: set[str],
    trained: list[np.ndarray],
    choices: Choices,
    batches: Iterable[list[np.ndarray]],
) -> None:
    """Gives neurons that stand out a path of their own.

    Args:
        graph: a simplified graph; changed in place.
        gates: its activations.
        sums: its float sums.
        fixed: tensors with a trained range.
        trained: int8 weights of compressed layers, which stay what they are.
        choices: takes down, or repeats, which neurons.
        batches: representative samples.
    """
    users = graph.users()
    layers = [
        layer
        for gate in gates
        if (layer := _hidden(graph, users, gate, sums, fixed, trained)) is not None
    ]
    chosen = choices.make(
        [graph.shapes[layer.gate.end][-1] for layer in layers],
        lambda: [
            _outliers(largest)
            for largest in largest_per_channel(
                graph, [layer.gate.end for layer in layers], batches
            )
        ],
        least=1.0,
    )
    for layer, marks in zip(layers, chosen, strict=True):
        if (marks > 1).any():
            _split(graph, layer, np.flatnonzero(marks > 1))
    graph.refresh()


def _outliers(largest: np.ndarray) -> np.ndarray:
    """Returns 2 for neurons that stand out and 1 for others; empty if none does."""
    order = np.sort(largest)[::-1]
    for count in range(min(_MOST, len(order) - 1), 0, -1):
        if order[count - 1] > _STANDS_OUT * order[count] > 0:
            return np.where(largest >= order[count - 1], 2, 1).astype(np.float32)
    return np.zeros(0, np.float32)


def _hidden(
    graph: Graph,
    users: dict,
    gate: Gate,
    sums: set[str],
    fixed: set[str],
    trained: list[np.ndarray],
) -> _Hidden | None:
    bias = _before(graph, gate.base)
    if bias.op != "BiasAdd" or not graph.is_constant(bias.input[1]):
        return None
    first = graph.nodes[node_name(bias.input[0])]
    second, _ = _behind(users, gate.end)
    if second is None or not is_free_product(graph, second, trained):
        return None
    if not is_free_product(graph, first, trained):
        return None
    after, operand = _behind(users, second.name)
    if after is not None and after.op == "BiasAdd":
        after, operand = _behind(users, after.name)
    if after is None or after.name not in sums:
        return None
    hidden = [bias, *_between(graph, bias, second)]
    neurons = graph.shapes[bias.name][-1:]
    if any(graph.shapes[node.name][-1:] != neurons for node in hidden):
        return None  # a reshape tears neurons apart
    if not all(_is_uniform(graph, node) for node in hidden[1:]):
        return None
    inside = _names([first, *hidden, second, *_between(graph, second, after)])
    read = {user.name for name in inside for user in users[name]}
    seen_as_is = fixed | set(graph.outputs.values())
    if inside & seen_as_is or not read <= inside | {after.name}:
        return None  # what happens in here is seen outside
    return _Hidden(gate, first, bias, second, after, operand)


def _is_uniform(graph: Graph, node: Node) -> bool:
    """Whether a node does the same to every neuron."""
    if node.op == "Reshape":
        return graph.is_constant(node.input[1])
    constants = [graph.constant(tensor) for tensor in node.input]
    return all(value is None or value.size == 1 for value in constants)


def _names(nodes: list[Node]) -> set[str]:
    return {node.name for node in nodes}


def _before(graph: Graph, tensor: str) -> Node:
    """Returns the node in front of reshapes."""
    node = graph.nodes[node_name(tensor)]
    while node.op == "Reshape":
        node = graph.nodes[node_name(node.input[0])]
    return node


def _behind(users: dict, tensor: str) -> tuple[Node | None, str]:
    """Returns the only reader behind reshapes, and the tensor it reads."""
    while len(users[tensor]) == 1:
        node = users[tensor][0]
        if node.op != "Reshape":
            return node, tensor
        tensor = node.name
    return None, tensor


def _split(graph: Graph, layer: _Hidden, chosen: np.ndarray) -> None:
    first, bias, second = layer.first, layer.bias, layer.second
    inner, offset = graph.value(first.input[1]), graph.value(bias.input[1])
    outer = graph.value(second.input[1])

    def constant(node: Node, what: str, value: np.ndarray) -> str:
        return graph.add_constant(f"{node.name}/{what}", value)

    def few(node: Node, source: str, value: np.ndarray) -> str:
        return graph.copy_node(node, [source, constant(node, "few", value)])

    tensor = few(first, first.input[0], inner[:, chosen])
    copies = {bias.name: few(bias, tensor, offset[chosen])}
    for node in _between(graph, bias, second):
        inputs = [copies.get(t, t) for t in node.input]
        if node.op == "Reshape":
            shape = graph.value(node.input[1]).copy()
            shape[-1] = len(chosen)
            inputs[1] = constant(node, "few", shape)
        copies[node.name] = graph.copy_node(node, inputs)
    tensor = few(second, copies[second.input[0]], outer[chosen])
    copies = {second.name: tensor, layer.operand: tensor}
    for node in _between(graph, second, layer.sum):
        # The bias stays where most neurons are.
        source = copies.get(node.input[0])
        if node.op == "Reshape" and source is not None:
            source = graph.copy_node(node, [source, node.input[1]])
        if source is not None:
            copies[node.name] = source
    joined = graph.add_node(
        f"{layer.sum.name}/outliers",
        "AddV2",
        [layer.operand, copies[layer.operand]],
        T=tf.float32,
    )
    graph.rewire(layer.operand, joined, keep=[joined])
    inner, offset, outer = inner.copy(), offset.copy(), outer.copy()
    inner[:, chosen], offset[chosen], outer[chosen] = 0, 0, 0
    first.input[1] = constant(first, "rest", inner)
    bias.input[1] = constant(bias, "rest", offset)
    second.input[1] = constant(second, "rest", outer)


def _between(graph: Graph, begin: Node, end: Node) -> list[Node]:
    """Returns the nodes on the way, both ends excluded, in topological order."""
    reached = {begin.name}
    for node in graph.nodes.values():
        if any(t in reached for t in node.input) and node.name != end.name:
            reached.add(node.name)
    needed, stack = set(), list(end.input)
    while stack:
        tensor = stack.pop()
        if tensor in reached and tensor != begin.name and tensor not in needed:
            needed.add(tensor)
            stack += graph.nodes[tensor].input
    return [node for name, node in graph.nodes.items() if name in needed]
