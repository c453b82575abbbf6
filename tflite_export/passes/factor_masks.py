"""Masks of the form `m * c + d` as `(m + d / c) * c`.

With `m * 1e9 - 1e9`, scores that are not hidden are what remains of two large numbers,
and int8 leaves nothing of it.

    m * c + d  ->  (m + d / c) * c
"""

from qsparse.tflite_export.graph.affine import affine_constant
from qsparse.tflite_export.graph.graph import Graph, node_name
from qsparse.tflite_export.passes.base import Context, Pass
from qsparse.tflite_export.passes.masks import HIDDEN


class FactorMasks(Pass):
    """Rewrites masks whose constant is as large as what hides scores."""

    name = "factor_masks"

    def apply(self, graph: Graph, context: Context) -> None:
        """See the module."""
        users = graph.users()
        for node in list(graph.nodes.values()):
            pair = affine_constant(graph, node)
            if node.op not in ("Add", "AddV2", "Sub") or pair is None:
                continue
            product = graph.nodes[node_name(pair[0])]
            inner = affine_constant(graph, product)
            if product.op != "Mul" or inner is None or len(users[product.name]) != 1:
                continue
            offset, factor = graph.value(pair[1]), graph.value(inner[1])
            if offset.size != 1 or factor.size != 1 or abs(factor.item()) < -HIDDEN:
                continue
            shifted = offset / factor.reshape(())
            moved = graph.add_constant(f"{node.name}/moved", shifted)
            product.op, node.op = node.op, "Mul"
            product.input[:] = [inner[0], moved]
            node.input[:] = [product.name, inner[1]]
        graph.refresh()
