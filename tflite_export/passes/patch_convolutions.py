"""Patch convolutions straight before a normalization stay in float.

A normalization divides each token by its own deviation. Tokens of even regions (sky, a
wall) hardly vary, and a step that is fine beside the most lively token is coarse beside
them: in SegFormer and Swin that put the first stage 55 to 64 steps off. A pruned
convolution stays in int8, where its zeros are of use.

    norm(Conv2D(x) + b)  ->  the same, Conv2D and BiasAdd in float
"""

from qsparse.tflite_export.graph.graph import Graph, Node, node_name
from qsparse.tflite_export.graph.ops import MOVES
from qsparse.tflite_export.passes.base import Context, Pass


class PatchConvolutions(Pass):
    """Takes convolutions with strides that only normalizations read out of int8."""

    name = "patch_convolutions"

    def apply(self, graph: Graph, context: Context) -> None:
        """See the module."""
        context.apart |= _patch_convolutions(graph, context.normalizing, context.fixed)


def _patch_convolutions(
    graph: Graph, normalizing: set[str], fixed: set[str]
) -> set[str]:
    """Finds convolutions with strides whose result only normalizations read.

    Args:
        graph: a simplified graph.
        normalizing: every node that is part of a normalization.
        fixed: tensors with a trained range; training saw them rounded.

    Returns:
        Names of the convolutions, their BiasAdd and what moves their result.
    """
    users = graph.users()
    outputs = set(graph.outputs.values())
    found: set[str] = set()
    for node in graph.nodes.values():
        if node.op != "Conv2D" or not _is_free(graph, node):
            continue
        _, down, right, _ = node.attr["strides"].list.i
        if max(down, right) == 1:
            continue
        behind = {node.name}
        waiting = [node.name]
        ends_well = True
        while waiting and ends_well:
            tensor = waiting.pop()
            ends_well = tensor not in fixed | outputs and bool(users[tensor])
            for user in users[tensor]:
                if user.op == "BiasAdd" or user.op in MOVES:
                    behind.add(user.name)
                    waiting.append(user.name)
                elif user.name not in normalizing:
                    ends_well = False
        if ends_well:
            found |= behind
    return found


def _is_free(graph: Graph, node: Node) -> bool:
    """Whether a convolution has constant weights that are not pruned."""
    weights = node_name(node.input[1])
    if not graph.is_constant(weights):
        return False
    kernel = graph.kernels.get(weights)
    return kernel is None or kernel.mask is None
