"""Sums in front of a normalization stay in float, with scales per channel.

A LayerNormalization computes in float anyway, and so may the sum it reads. That keeps
the residual stream of a transformer exact; and what int8 ops add to it may be scaled
channel by channel, which int8 tensors cannot be. It matters: in trained transformers
one or two channels are a hundred times larger than all others (Dettmers et al.,
"LLM.int8()", 2022), and on one scale with them the others round to zero.
"""

from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from qsparse.tflite_export.graph.channels import (
    beyond_typical,
    divide_outputs,
    head_of,
    largest_per_channel,
    produced_channels,
)
from qsparse.tflite_export.graph.graph import Graph, Node, node_name
from qsparse.tflite_export.graph.ops import LOOKUPS, MATRICES, SUMS
from qsparse.tflite_export.passes.record import Choices

_TO_THE_END = {"Reshape", "Squeeze", "StridedSlice", "Mean"}


def float_sums(graph: Graph, normalizing: set[str]) -> set[str]:
    """Finds the sums that lead to a normalization, or a product, and nothing else.

    A sum with a trained range is among them: training rounded what some layers read
    of it, but a normalization read it as it is.

    Args:
        graph: a simplified graph.
        normalizing: every node that is part of a normalization.

    Returns:
        Names of the nodes.
    """
    users = graph.users()
    outputs = set(graph.outputs.values())
    found = {
        node.name
        for node in graph.nodes.values()
        if node.op in SUMS
        and node.name not in normalizing | outputs
        and users[node.name]
    }
    while True:
        kept = {name for name in found if _ends_well(users, name, found | normalizing)}
        # Sums that feed each other, but no normalization, gain nothing.
        if kept == found:
            return _reaching(users, found, normalizing)
        found = kept


def _ends_well(users: dict, tensor: str, floating: set[str]) -> bool:
    """Whether float nodes read a tensor, or the layer a network of tokens ends with."""
    return all(
        user.name in floating
        or user.op in MATRICES
        or (user.op in _TO_THE_END and _ends_well(users, user.name, floating))
        for user in users[tensor]
    )


def _reaching(users: dict, sums: set[str], normalizing: set[str]) -> set[str]:
    """Returns the sums of streams that a normalization reads somewhere."""
    reaching: set[str] = set()
    while True:
        read = {user.name for name in reaching for user in users[name]}
        more = {
            name
            for name in sums - reaching
            if name in read
            or any(user.name in normalizing | reaching for user in users[name])
        }
        if not more:
            return reaching
        reaching |= more


def scale_channels(
    graph: Graph,
    sums: set[str],
    normalizing: set[str],
    fixed: set[str],
    choices: Choices,
    batches: Iterable[list[np.ndarray]],
) -> set[str]:
    """Divides what float nodes read by a factor per channel, and multiplies later.

    Weights keep their integers: the factor is part of their scale.

    Args:
        graph: a simplified graph; changed in place.
        sums: what `float_sums` found.
        normalizing: every node that is part of a normalization.
        fixed: tensors with a trained range, which hold for the tensor as it is.
        choices: takes down, or repeats, the factors.
        batches: representative samples.

    Returns:
        Names of the products, which must stay in float.
    """
    sources = _sources(graph, sums | normalizing, fixed)
    sizes = [graph.shapes[tensor][-1] for tensor in sources]
    factors = choices.make(
        sizes,
        lambda: [beyond_typical(n) for n in _largest(graph, sources, batches).values()],
        least=1.0,
    )
    products = set()
    for (tensor, node), factor in zip(sources.items(), factors, strict=True):
        if not factor.size:
            continue
        _divide(graph, node, factor)
        constant = graph.add_constant(f"{node_name(tensor)}/channels", factor)
        product = graph.add_node(
            f"{node_name(tensor)}/scaled", "Mul", [tensor, constant], T=tf.float32
        )
        graph.rewire(tensor, product, keep=[product])
        products.add(product)
    graph.refresh()
    return products


def _sources(graph: Graph, floating: set[str], fixed: set[str]) -> dict[str, Node]:
    """Returns tensors only float nodes read -> the node with their constants."""
    users = graph.users()
    seen_as_is = fixed | set(graph.outputs.values())

    def is_free(tensor: str) -> bool:
        return tensor not in seen_as_is | floating

    found = {}
    for name in (name for name in graph.nodes if name in floating):
        for tensor in filter(is_free, graph.nodes[name].input):
            if any(user.name not in floating for user in users[tensor]):
                continue
            node = graph.nodes[node_name(tensor)]
            while (
                node.op == "Reshape"
                and is_free(node.input[0])
                and len(users[node.input[0]]) == 1
            ):
                node = graph.nodes[node_name(node.input[0])]
            if head_of(graph, node).name in fixed:
                continue
            channels = _channels(graph, users, node)
            if channels is not None and graph.shapes[tensor][-1:] == (channels,):
                found[tensor] = node
    return found


def _channels(graph: Graph, users: dict[str, list[Node]], node: Node) -> int | None:
    """Returns the channels of a lookup or a layer; None if it is neither."""
    if node.op not in LOOKUPS:
        return produced_channels(graph, users, node)
    table = graph.shapes[node.input[0]]
    by_row = node.op == "Gather" or graph.constant(node.input[2]) == 0
    lookup = graph.is_constant(node.input[0]) and len(table) == 2 and by_row
    return table[1] if lookup else None


def _divide(graph: Graph, node: Node, factor: np.ndarray) -> None:
    if node.op not in LOOKUPS:
        divide_outputs(graph, node, factor)
        return
    table = graph.value(node.input[0]) / factor
    node.input[0] = graph.add_constant(f"{node.name}/divided", table)


def _largest(
    graph: Graph, sources: dict[str, Node], batches: Iterable[list[np.ndarray]]
) -> dict[str, np.ndarray]:
    """Returns the greatest magnitude of each channel, over all samples and rows."""
    tables = {
        tensor: np.abs(graph.value(node.input[0])).max(axis=0)
        for tensor, node in sources.items()
        if node.op in LOOKUPS
    }
    measured = [tensor for tensor in sources if tensor not in tables]

    largest = largest_per_channel(graph, measured, batches)
    found_all = tables | dict(zip(measured, largest, strict=True))
    return {tensor: found_all[tensor] for tensor in sources}
