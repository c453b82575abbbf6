"""Which tensors get a range, and which nodes read them unrounded.

x  ->  x with an empty range; the graph stays as it is
"""

from qsparse.tflite_export.graph.graph import Graph
from qsparse.tflite_export.graph.ranges import choose
from qsparse.tflite_export.passes.base import Context, Pass


class PlaceRanges(Pass):
    """Says where ranges go; trained ones have their limits, others are empty yet.

    What a normalization or a float sum computes is read as it is by float nodes,
    unless training saw it rounded there.
    """

    name = "place_ranges"

    def apply(self, graph: Graph, context: Context) -> None:
        """See the class."""
        trained, fixed, ends = context.trained, context.fixed, context.ends
        floating = context.sums | context.divided | context.multiplied | ends
        as_is = floating | context.normalizing
        inputs = set(graph.inputs.values())
        context.exempt = {
            tensor: as_is - trained.readers.get(tensor, set())
            for tensor in graph.nodes
            if tensor in as_is | (inputs if context.float_ends else set())
        }
        interior = context.composites.interior | (context.sums - fixed)
        interior |= context.multiplied | context.joins
        read = {t for name in context.affine for t in graph.nodes[name].input}
        rounded = set() if context.float_ends else read & inputs
        context.ranges = choose(
            graph, trained.ranges, interior, floating, rounded, context.grid
        )
