"""Sums in front of a normalization stay in float.

A LayerNormalization computes in float anyway, and so may the sum it reads. That keeps
the residual stream of a transformer exact.

    norm(x + layer(y))  ->  the same, the sum in float
"""

from qsparse.tflite_export.graph.graph import Graph
from qsparse.tflite_export.graph.ops import MATRICES, SUMS
from qsparse.tflite_export.passes.base import Context, Pass

_TO_THE_END = {"Reshape", "Squeeze", "StridedSlice", "Mean"}


class FloatSums(Pass):
    """Says which sums stay in float; what is apart stays with them."""

    name = "float_sums"

    def apply(self, graph: Graph, context: Context) -> None:
        """See the module."""
        context.sums = float_sums(graph, context.normalizing) | context.apart


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
