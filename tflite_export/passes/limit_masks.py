"""Constant masks no larger than what hides every score.

LiteRT adds on a scale that both sides fit, where -1e9 would leave nothing of the
scores; and a product with -1e9 overflows the 32 bits it is scaled in.

    scores + -1e9       ->  scores + (least score - 12)
    scores + m * -1e9   ->  scores + m * (as much as its least step needs)
"""

import numpy as np

from qsparse.tflite_export.graph.affine import affine_constant
from qsparse.tflite_export.graph.graph import Graph, Node, node_name
from qsparse.tflite_export.graph.ranges import Range, root_of
from qsparse.tflite_export.passes.base import ROUNDING, Context, Pass
from qsparse.tflite_export.passes.masks import HIDDEN, summands


class LimitMasks(Pass):
    """Limits constants that are added to scores, and factors of masks."""

    name = "limit_masks"
    tolerance = ROUNDING  # a mask moves scores that a softmax makes zero anyway

    def apply(self, graph: Graph, context: Context) -> None:
        """See the module."""
        ranges = {t: r for t, r in context.ranges.items() if t not in context.inserted}
        factors: dict[str, float] = {}
        for node, position, tensor, low in list(summands(graph, ranges)):
            value = graph.constant(tensor)
            if value is None:
                if graph.nodes[node_name(tensor)].op == "Mul":
                    factors[tensor] = min(low, factors.get(tensor, 0.0))
            elif value.size and value.min() < HIDDEN:
                limited = np.maximum(value, np.asarray(low, value.dtype))
                node.input[position] = graph.add_constant(f"{node.name}/mask", limited)
        for tensor, low in factors.items():
            _limit_factor(graph, graph.nodes[node_name(tensor)], low, ranges)


def _limit_factor(
    graph: Graph, node: Node, low: float, ranges: dict[str, Range]
) -> None:
    """Makes the constant of a product no larger than what its least step needs."""
    pair = affine_constant(graph, node)
    entry = None if pair is None else ranges.get(root_of(graph, pair[0]))
    if pair is None or entry is None:
        return
    value = graph.value(pair[1])
    if not value.size or np.abs(value).max() < -HIDDEN:
        return
    most = -low / entry.step
    limited = np.clip(value, -most, most).astype(value.dtype)
    position = list(node.input).index(pair[1])
    node.input[position] = graph.add_constant(f"{node.name}/factor", limited)
