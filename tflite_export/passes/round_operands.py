"""Operands of copied integers, rounded once more to the scale of the result.

A trained or a fixed range stays as it is, and so does one that others read; the
converter would give the result the scale of such an operand. Of the operands of a
concatenation those are rounded that it finds rounded itself; a part of a rounded
tensor it rounds once more on its own.

    max(q1(x), y)  ->  max(q(q1(x)), y), q being the grid of the result
"""

from collections.abc import Iterable

import numpy as np

from qsparse.tflite_export.graph.graph import FAKE_QUANT, Graph, node_name
from qsparse.tflite_export.graph.ops import JOINS, ONE_SCALE
from qsparse.tflite_export.graph.ranges import root_of
from qsparse.tflite_export.passes.base import ROUNDING, Context, Pass
from qsparse.tflite_export.passes.one_scale import dequantized


class RoundOperands(Pass):
    """Rounds operands that keep a range of their own to that of the result."""

    name = "round_operands"
    tolerance = ROUNDING

    def apply(self, graph: Graph, context: Context) -> None:
        """See the module."""
        users = graph.users()
        for node in list(graph.nodes.values()):
            behind = [user for user in users[node.name] if user.op == FAKE_QUANT]
            if node.op not in ONE_SCALE | JOINS or not behind:
                continue
            limits = list(behind[0].input[1:])
            for position, tensor in enumerate(node.input):
                before = graph.nodes[node_name(root_of(graph, tensor))]
                if before.op != FAKE_QUANT or _are_equal(
                    graph, before.input[1:], limits
                ):
                    continue
                if node.op in JOINS and before.name == node_name(tensor):
                    continue
                node.input[position] = graph.add_node(
                    f"{node.name}/operand/fake_quant",
                    FAKE_QUANT,
                    [dequantized(graph, tensor), *limits],
                    num_bits=context.grid.bits,
                    narrow_range=context.grid.symmetric,
                )
        graph.refresh()


def _are_equal(graph: Graph, some: Iterable[str], others: Iterable[str]) -> bool:
    pairs = zip(some, others, strict=True)
    return all(np.isclose(graph.value(a), graph.value(b), 1e-4) for a, b in pairs)
