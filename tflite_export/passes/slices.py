"""Reversals as slices with a step of -1, which LiteRT takes in int8.

The converter leaves REVERSE_V2 in float, and the layer behind it too.

    ReverseV2(x)  ->  x[::-1]
"""

import numpy as np
import tensorflow as tf

from qsparse.tflite_export.graph.graph import Graph
from qsparse.tflite_export.passes.base import Context, Pass

_MOST_AXES = 5  # of a strided slice in LiteRT


class ReversalsToSlices(Pass):
    """Rewrites every reversal along known axes."""

    name = "reversals_to_slices"

    def apply(self, graph: Graph, context: Context) -> None:
        """See the module."""
        for node in list(graph.nodes.values()):
            if node.op != "ReverseV2" or not graph.is_constant(node.input[1]):
                continue
            rank = len(graph.shapes[node.name])
            if not 0 < rank <= _MOST_AXES:
                continue
            strides = np.ones(rank, np.int32)
            strides[np.atleast_1d(graph.value(node.input[1]))] = -1
            nothing = np.zeros(rank, np.int32)  # the masks stand for both ends
            node.op = "StridedSlice"
            node.input[1:] = [
                graph.add_constant(f"{node.name}/{name}", value)
                for name, value in (
                    ("begin", nothing),
                    ("end", nothing),
                    ("strides", strides),
                )
            ]
            del node.attr["Tidx"]
            node.attr["Index"].type = tf.int32.as_datatype_enum
            for mask in ("begin_mask", "end_mask"):
                node.attr[mask].i = 2**rank - 1
            for mask in ("ellipsis_mask", "new_axis_mask", "shrink_axis_mask"):
                node.attr[mask].i = 0
        graph.refresh()
