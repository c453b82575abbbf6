"""What leaves an average, rounded to the scale of what enters it.

That is how LiteRT computes it.

    AvgPool(q(x))  ->  q(AvgPool(q(x)))
"""

from qsparse.tflite_export.graph.graph import FAKE_QUANT, Graph, node_name
from qsparse.tflite_export.graph.ops import AVERAGES
from qsparse.tflite_export.graph.ranges import kept_from
from qsparse.tflite_export.passes.base import ROUNDING, Context, Pass


class RoundAverages(Pass):
    """Appends a fake-quant node with the limits of the one before."""

    name = "round_averages"
    tolerance = ROUNDING

    def apply(self, graph: Graph, context: Context) -> None:
        """See the module."""
        for node in list(graph.nodes.values()):
            if node.op not in AVERAGES:
                continue
            before = graph.nodes[node_name(node.input[0])]
            while before.op in AVERAGES or kept_from(graph, before) is not None:
                source = kept_from(graph, before) or before.input[0]
                before = graph.nodes[node_name(source)]
            if before.op != FAKE_QUANT:
                continue
            name = graph.add_node(
                f"{node.name}/same_scale",
                FAKE_QUANT,
                [node.name, *before.input[1:]],
                num_bits=before.attr["num_bits"].i,
                narrow_range=before.attr["narrow_range"].b,
            )
            graph.rewire(node.name, name, keep=[name])
        graph.refresh()
