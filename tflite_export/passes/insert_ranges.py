"""A fake-quant node behind every tensor that has a range.

x  ->  FakeQuant(x, low, high), for all readers that are not exempt
"""

from collections.abc import Container

import numpy as np

from qsparse.tflite_export.graph.graph import FAKE_QUANT, Graph, node_name
from qsparse.tflite_export.graph.ranges import Range
from qsparse.tflite_export.passes.base import ROUNDING, Context, Pass


class InsertRanges(Pass):
    """Inserts the nodes that are not there yet."""

    name = "insert_ranges"
    tolerance = ROUNDING

    def apply(self, graph: Graph, context: Context) -> None:
        """See the module."""
        insert(graph, context, context.ranges.keys() - context.inserted)


def insert(graph: Graph, context: Context, tensors: Container[str]) -> None:
    """Appends a fake-quant node to some of the tensors that have a range.

    Args:
        graph: the graph; changed in place.
        context: with ranges, and the nodes that go on reading tensors as they are.
        tensors: which of them.
    """
    for tensor, entry in context.ranges.items():
        if tensor not in tensors:
            continue
        name = graph.add_node(
            f"{node_name(tensor)}/fake_quant",
            FAKE_QUANT,
            [tensor, *limits(graph, tensor, entry)],
            num_bits=entry.grid.bits,
            narrow_range=entry.grid.symmetric,
        )
        graph.rewire(tensor, name, keep=[name, *context.exempt.get(tensor, ())])
        context.inserted.add(tensor)
    graph.refresh()


def limits(graph: Graph, tensor: str, entry: Range) -> list[str]:
    """Adds constants with the ends of a range; returns their names."""
    return [
        graph.add_constant(
            f"{node_name(tensor)}/range_{end}", np.asarray(value, np.float32)
        )
        for end, value in (("low", entry.low), ("high", entry.high))
    ]
