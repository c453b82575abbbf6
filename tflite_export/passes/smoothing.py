"""What a normalization hands to int8 layers, its channels brought to one size.

As in SmoothQuant (Xiao et al., 2023): channel c of the activations is divided by a
factor and row c of the weights multiplied by it. The division is one product in float,
behind a normalization that computes in float anyway.
"""

from collections.abc import Iterable

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
from qsparse.tflite_export.passes.record import Choices

# Every factor makes the weights less even, which costs them accuracy: 2 was best of
# 1, 2 and 3 for the sentence embeddings of MiniLM.
_TYPICAL = 2.0


def smooth(
    graph: Graph,
    floating: set[str],
    fixed: set[str],
    choices: Choices,
    batches: Iterable[list[np.ndarray]],
) -> set[str]:
    """Divides the channels of float tensors that only products with free weights read.

    Args:
        graph: a simplified graph; changed in place.
        floating: nodes that compute in float.
        fixed: tensors with a trained range, which holds for the tensor as it is.
        choices: takes down, or repeats, the factors.
        batches: representative samples.

    Returns:
        Names of the nodes that divide; they compute in float.
    """
    users = graph.users()
    readers = {
        name: products
        for name in graph.nodes
        if name in floating - fixed
        and (products := _products(graph, users, name, floating, fixed))
    }
    factors = choices.make(
        [graph.shapes[tensor][-1] for tensor in readers],
        lambda: [
            beyond_typical(largest, _TYPICAL)
            for largest in largest_per_channel(graph, list(readers), batches)
        ],
        least=1.0,
    )
    made = set()
    for (tensor, products), factor in zip(readers.items(), factors, strict=True):
        if not factor.size:
            continue
        inverse = graph.add_constant(f"{tensor}/smaller", 1 / factor)
        name = graph.add_node(
            f"{tensor}/smooth", "Mul", [tensor, inverse], T=tf.float32
        )
        graph.rewire(tensor, name, keep=floating | {name})
        made.add(name)
        for product in products:
            multiply_inputs(graph, product, factor)
    graph.refresh()
    return made


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
