"""What a normalization hands to int8 layers, its channels brought to one size.

As in SmoothQuant (Xiao et al., 2023): channel c of the activations is divided by a
factor and row c of the weights multiplied by it. The division is one product in float,
behind a normalization that computes in float anyway.

    W norm(x)  ->  (W * factor) (norm(x) / factor)
"""

import numpy as np
import tensorflow as tf

from qsparse.tflite_export.graph.channels import (
    beyond_typical,
    is_free_product,
    keeps_last_axis,
    largest_per_channel,
    multiply_inputs,
)
from qsparse.tflite_export.graph.graph import Graph, Node
from qsparse.tflite_export.passes.base import Context, DecidingPass

# Every factor makes the weights less even, which costs them accuracy: 2 was best of
# 1, 2 and 3 for the sentence embeddings of MiniLM.
_TYPICAL = 2.0


class Smooth(DecidingPass[tuple[str, list[Node]]]):
    """Divides float tensors that only products with free weights read, by channel."""

    name = "smooth"
    least = 1.0

    def find(self, graph: Graph, context: Context) -> list[tuple[str, list[Node]]]:
        """Returns tensors, and the products that read them in int8."""
        users = graph.users()
        floating, fixed = context.sums | context.normalizing, context.fixed
        return [
            (name, products)
            for name in graph.nodes
            if name in floating - fixed
            and (products := _products(graph, users, name, floating, fixed))
        ]

    def channels(self, graph: Graph, site: tuple[str, list[Node]]) -> int:
        """Returns the channels of the tensor."""
        return graph.shapes[site[0]][-1]

    def decide(
        self, graph: Graph, context: Context, sites: list[tuple[str, list[Node]]]
    ) -> list[np.ndarray]:
        """Returns by how much each channel goes beyond a typical one."""
        tensors = [tensor for tensor, _ in sites]
        found = largest_per_channel(graph, tensors, context.batches)
        return [beyond_typical(largest, _TYPICAL) for largest in found]

    def rewrite(
        self,
        graph: Graph,
        context: Context,
        sites: list[tuple[str, list[Node]]],
        decided: list[np.ndarray],
    ) -> None:
        """Divides in float, and multiplies the weights."""
        floating = context.sums | context.normalizing
        for (tensor, products), factor in zip(sites, decided, strict=True):
            if not factor.size:
                continue
            inverse = graph.add_constant(f"{tensor}/smaller", 1 / factor)
            name = graph.add_node(
                f"{tensor}/smooth", "Mul", [tensor, inverse], T=tf.float32
            )
            graph.rewire(tensor, name, keep=floating | {name})
            context.divided.add(name)
            for product in products:
                multiply_inputs(graph, product, factor)


def _products(
    graph: Graph,
    users: dict,
    tensor: str,
    floating: set[str],
    fixed: set[str],
) -> list[Node]:
    """Returns the int8 readers of a tensor; empty if one of them is something else."""
    found: list[Node] = []
    waiting = [user for user in users[tensor] if user.name not in floating]
    seen_as_is = fixed | set(graph.outputs.values())
    if tensor in seen_as_is:
        return []
    channels = graph.shapes[tensor][-1:]
    while waiting:
        node = waiting.pop()
        if keeps_last_axis(graph, node) and graph.shapes[node.name][-1:] == channels:
            if node.name in seen_as_is:
                return []
            waiting += users[node.name]
        elif is_free_product(graph, node):
            found.append(node)
        else:
            return []
    return found
