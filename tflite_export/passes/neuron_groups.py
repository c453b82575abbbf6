"""Neurons of a hidden layer in groups of like size.

In `second(gelu(first(x)))` one neuron of a trained transformer may reach 25, a tenth
of them 6 and most no more than 2. On one scale most would get a few levels. Each group
goes through a pair of smaller layers on scales of its own, a handful of outliers in
float (as in Dettmers et al., "LLM.int8()", 2022), and the results meet in a float sum.
No product is computed twice.

    second(gate(first(x)))  ->  second_1(gate(first_1(x))) + second_2(gate(first_2(x)))
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import tensorflow as tf

from qsparse.tflite_export.graph.channels import (
    head_of,
    is_free_product,
    largest_per_channel,
    produced_channels,
)
from qsparse.tflite_export.graph.composites import Gate, find_composites
from qsparse.tflite_export.graph.graph import Graph, Node, node_name
from qsparse.tflite_export.passes.base import Context, DecidingPass
from qsparse.tflite_export.passes.float_sums import float_sums

_MOST_GROUPS = 3
# Another group must leave this share of the rounding error: it costs a sum, and
# layers that are less than full.
_WORTH = 0.6
_FEW = 8  # neurons that float costs next to nothing,
_STANDS_OUT = 1.5  # if they are so many times larger than the next
_MOST_CUTS = 128  # places to split at; pairs of them are tried
_STEP = 16  # a kernel computes this many at a time


@dataclass(frozen=True)
class _Hidden:
    """A hidden layer between two products.

    Attributes:
        gate: its activation.
        first: the product before it.
        bias: the BiasAdd behind it; the product itself, if it has none.
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


class GroupNeurons(DecidingPass[_Hidden]):
    """Splits hidden layers whose neurons differ in size.

    What is decided is the group of each neuron, from 0.
    """

    name = "group_neurons"
    least = 0.0

    def find(self, graph: Graph, context: Context) -> list[_Hidden]:
        """Returns the hidden layers between two products."""
        users = graph.users()
        composites = find_composites(graph)
        sums = float_sums(graph, composites.normalizing)
        return [
            layer
            for gate in composites.gates
            if (layer := _hidden(graph, users, gate, sums, context.fixed)) is not None
        ]

    def channels(self, graph: Graph, site: _Hidden) -> int:
        """Returns the number of neurons."""
        return graph.shapes[site.gate.end][-1]

    def decide(
        self, graph: Graph, context: Context, sites: list[_Hidden]
    ) -> list[np.ndarray]:
        """Returns the group of each neuron."""
        ends = [layer.gate.end for layer in sites]
        found = largest_per_channel(graph, ends, context.batches)
        return [groups(largest) for largest in found]

    def rewrite(
        self,
        graph: Graph,
        context: Context,
        sites: list[_Hidden],
        decided: list[np.ndarray],
    ) -> None:
        """Computes each group apart; a handful of outliers stays in float."""
        for layer, group in zip(sites, decided, strict=True):
            members = [np.flatnonzero(group == n) for n in range(_MOST_GROUPS)]
            context.apart |= _split(graph, layer, [m for m in members if m.size])


def groups(largest: np.ndarray) -> np.ndarray:
    """Returns the group of each neuron, 0 for most; empty if one is best.

    The error of rounding a neuron goes with the square of the largest in its group, but
    for groups so small that they stay in float.

    Args:
        largest: greatest magnitude of each neuron.
    """
    rank = np.argsort(-largest, kind="stable")
    sizes = largest[rank]
    step = _STEP * max(1, len(sizes) // (_STEP * _MOST_CUTS))
    cuts = list(range(step, len(sizes), step))
    few = range(1, min(_FEW, len(sizes) - 1) + 1)
    cuts += [n for n in few if sizes[n - 1] > _STANDS_OUT * sizes[n]]
    least, best = len(sizes) * sizes[0] ** 2, np.zeros(0, int)
    for count in range(1, min(_MOST_GROUPS, len(cuts) + 1)):
        starts = np.array(list(combinations(sorted(cuts), count)))
        starts = np.pad(starts, ((0, 0), (1, 0)))
        counts = np.diff(starts, append=len(sizes))
        counts[counts <= _FEW] = 0  # they stay in float
        errors = (counts * sizes[starts] ** 2).sum(axis=1)
        if not errors.min() < _WORTH * least:
            break
        least, best = errors.min(), starts[errors.argmin()]
    if not best.size:
        return np.zeros(0, np.float32)
    group = np.zeros(len(sizes), np.float32)
    group[rank] = len(best) - np.searchsorted(best, np.arange(len(sizes)), "right")
    return group


def _hidden(
    graph: Graph,
    users: dict,
    gate: Gate,
    sums: set[str],
    fixed: set[str],
) -> _Hidden | None:
    bias = _before(graph, gate.base)
    if produced_channels(graph, users, bias) is None:
        return None
    first = head_of(graph, bias)
    second, _ = _behind(users, gate.end)
    if second is None or not is_free_product(graph, second):
        return None
    if not is_free_product(graph, first):
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


def _split(graph: Graph, layer: _Hidden, groups: list[np.ndarray]) -> set[str]:
    """Computes each group of neurons apart; the first goes the way all went.

    Returns:
        Names of the nodes of small groups.
    """
    if len(groups) < 2:
        return set()
    hidden = _between(graph, layer.bias, layer.second)
    ends = [layer.first] if layer.bias is layer.first else [layer.first, layer.bias]
    nodes = [*ends, *hidden, layer.second]
    parts = [
        {node.name: _part(graph, layer, node, neurons) for node in nodes}
        for neurons in groups
    ]
    floating: set[str] = set()
    for neurons, part in zip(groups[1:], parts[1:], strict=True):
        made = _copy(graph, layer, nodes, part)
        if len(neurons) <= _FEW:
            floating |= made
    for node in nodes:
        node.input[1:] = parts[0][node.name]
    return floating


def _part(graph: Graph, layer: _Hidden, node: Node, neurons: np.ndarray) -> list[str]:
    """Returns the inputs but the first of a node that computes these neurons only."""
    if node in (layer.first, layer.bias):
        value = graph.value(node.input[1])[..., neurons]
    elif node is layer.second:
        value = graph.value(node.input[1])[neurons]
    elif node.op == "Reshape":
        value = graph.value(node.input[1]).copy()
        value[-1] = len(neurons)
    else:
        return list(node.input[1:])
    return [graph.add_constant(f"{node.name}/part", value)]


def _copy(
    graph: Graph, layer: _Hidden, nodes: list[Node], part: dict[str, list[str]]
) -> set[str]:
    """Adds nodes for a group, and their result to the sum; returns their names.

    The bias behind the second product stays with the first group.
    """
    copies: dict[str, str] = {}
    for node in nodes:
        inputs = [copies.get(t, t) for t in [node.input[0], *part[node.name]]]
        copies[node.name] = graph.copy_node(node, inputs)
    made, tensor = set(copies.values()), copies[layer.second.name]
    copies = {layer.second.name: tensor, layer.operand: tensor}
    for node in _between(graph, layer.second, layer.sum):
        source = copies.get(node.input[0])
        if node.op == "Reshape" and source is not None:
            source = graph.copy_node(node, [source, node.input[1]])
            made.add(source)
        if source is not None:
            copies[node.name] = source
    joined = graph.add_node(
        f"{layer.sum.name}/groups",
        "AddV2",
        [layer.operand, copies[layer.operand]],
        T=tf.float32,
    )
    graph.rewire(layer.operand, joined, keep=[joined])
    return made


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
