"""What brings uneven features to one size stays in float behind an int8 input.

The input itself is rounded, on one scale for all its features; the scale and the shift
per channel behind it would round them once more.

    layer(q(x) * a + b)  ->  the same, the affine part in float
"""

from qsparse.tflite_export.graph.graph import Graph
from qsparse.tflite_export.passes.base import Context, Pass
from qsparse.tflite_export.passes.float_ends import leading_affine


class UnevenInputs(Pass):
    """Takes the scales and shifts out of int8 that are no depthwise convolution."""

    name = "uneven_inputs"

    def apply(self, graph: Graph, context: Context) -> None:
        """See the module."""
        if not context.float_ends:
            context.affine = leading_affine(graph, context.uneven)
