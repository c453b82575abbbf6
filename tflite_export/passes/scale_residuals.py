"""What is added to a float sum, with a scale per channel.

What int8 ops add to the residual stream of a transformer may be scaled channel by
channel, which int8 tensors cannot be. It matters: in trained transformers one or two
channels are a hundred times larger than all others (Dettmers et al., "LLM.int8()",
2022), and on one scale with them the others round to zero.

    op(x)  ->  (op / factor)(x) * factor
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
from qsparse.tflite_export.graph.ops import LOOKUPS
from qsparse.tflite_export.passes.base import Context, DecidingPass


class ScaleResiduals(DecidingPass[tuple[str, Node]]):
    """Divides what float nodes read by a factor per channel, and multiplies later.

    Weights keep their integers: the factor is part of their scale.
    """

    name = "scale_residuals"
    least = 1.0

    def find(self, graph: Graph, context: Context) -> list[tuple[str, Node]]:
        """Returns tensors only float nodes read, and the node with their constants."""
        floating = context.sums | context.normalizing
        sources = _sources(graph, floating, context.fixed | context.apart)
        return list(sources.items())

    def channels(self, graph: Graph, site: tuple[str, Node]) -> int:
        """Returns the channels of the tensor."""
        return graph.shapes[site[0]][-1]

    def decide(
        self, graph: Graph, context: Context, sites: list[tuple[str, Node]]
    ) -> list[np.ndarray]:
        """Returns by how much each channel goes beyond a typical one."""
        largest = _largest(graph, dict(sites), context.batches)
        return [beyond_typical(channels) for channels in largest.values()]

    def rewrite(
        self,
        graph: Graph,
        context: Context,
        sites: list[tuple[str, Node]],
        decided: list[np.ndarray],
    ) -> None:
        """Moves the factors behind what adds to the sums."""
        for (tensor, node), factor in zip(sites, decided, strict=True):
            if not factor.size:
                continue
            _divide(graph, node, factor)
            constant = graph.add_constant(f"{node_name(tensor)}/channels", factor)
            product = graph.add_node(
                f"{node_name(tensor)}/scaled", "Mul", [tensor, constant], T=tf.float32
            )
            graph.rewire(tensor, product, keep=[product])
            context.multiplied.add(product)


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
