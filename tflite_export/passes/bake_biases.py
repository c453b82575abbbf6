"""Puts the biases of a graph on the integer grid the file will have.

b  ->  rint(b / s) * s, with s = input step * weight step of each output channel
"""

import numpy as np

from qsparse.tflite_export.files.grid import Grid
from qsparse.tflite_export.graph.graph import FAKE_QUANT, Graph, Node, node_name
from qsparse.tflite_export.graph.ranges import kept_from
from qsparse.tflite_export.graph.weighted import by_channel, channel_count, data_input
from qsparse.tflite_export.passes.base import ROUNDING, Context, Pass


class BakeBiases(Pass):
    """Rounds biases to the grid of the file, where integers are multiplied.

    Weights are rounded by now, and all fake-quant nodes are there.
    """

    name = "bake_biases"
    tolerance = ROUNDING

    def apply(self, graph: Graph, context: Context) -> None:
        """See the class."""
        for node in list(graph.nodes.values()):
            if node.op == "BiasAdd" and graph.is_constant(node.input[1]):
                _bake_bias(graph, node, context.grid)
                _break_splat(graph, node)
        graph.refresh()


def _bake_bias(graph: Graph, node: Node, grid: Grid) -> None:
    head = graph.nodes[node_name(node.input[0])]
    if channel_count(graph, head) is None:
        return
    source = graph.nodes[node_name(data_input(head))]
    while (kept := kept_from(graph, source)) is not None:
        source = graph.nodes[node_name(kept)]
    if source.op != FAKE_QUANT:
        return
    low, high = (float(graph.value(limit)) for limit in source.input[1:])
    rows = by_channel(head, graph.value(head.input[1]))
    scales = np.abs(rows).max(axis=1).astype(np.float64) / 127
    step = scales * (high - low) / grid.steps
    bias = graph.value(node.input[1])
    # Where all weights are zero, the converter finds a fine scale of its own.
    rounded = np.rint(bias / np.where(step > 0, step, 1)) * step
    baked = np.where(step > 0, rounded, bias).astype(bias.dtype)
    node.input[1] = graph.add_constant(f"{node.name}/integer", baked)


def _break_splat(graph: Graph, node: Node) -> None:
    """Makes a bias whose values are all equal differ by a rounding error.

    The converter (TensorFlow 2.21) stores such a bias as one value and quantizes it
    with the scale of the first channel, which is wrong for all others.
    """
    bias = graph.constant(node.input[1])
    if bias is None or bias.size < 2 or bias[0] == 0 or (bias != bias[0]).any():
        return
    bias = bias.copy()
    bias[-1] = np.nextafter(bias[-1], np.inf, dtype=bias.dtype)
    node.input[1] = graph.add_constant(f"{node.name}/distinct", bias)
