"""The limits of every range: measured on samples, or taken from a file.

x with an empty range  ->  x in [low, high]; trained ranges round from here on
"""

from qsparse.tflite_export.graph.graph import Graph
from qsparse.tflite_export.passes.base import ROUNDING, Context, Pass
from qsparse.tflite_export.passes.calibrate import calibrate


class FindRanges(Pass):
    """Calibrates, or asks `context.find_ranges` where somebody knows the limits."""

    name = "find_ranges"
    tolerance = ROUNDING
    restores = True  # trained ranges clip and round from here on

    def apply(self, graph: Graph, context: Context) -> None:
        """See the class."""
        (context.find_ranges or calibrate)(graph, context)
