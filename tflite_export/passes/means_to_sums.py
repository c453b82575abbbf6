"""Every mean in a normalization as `sum * (1 / n)`.

The converter gives MEAN the int8 type of its input wherever that has one (the "same
scale" rule), and the mean of a LayerNormalization would lose its bits.

    Mean(x)  ->  Sum(x) * (1 / n)
"""

import numpy as np

from qsparse.tflite_export.graph.composites import find_composites
from qsparse.tflite_export.graph.graph import Graph, Node
from qsparse.tflite_export.passes.base import Context, Pass


class MeansToSums(Pass):
    """Rewrites the means, and says what the normalizations consist of then."""

    name = "means_to_sums"

    def apply(self, graph: Graph, context: Context) -> None:
        """See the module."""
        found = context.composites = find_composites(graph)
        for name in list(found.normalizing):
            if graph.nodes[name].op == "Mean":
                total = _mean_to_sum(graph, graph.nodes[name])
                found.normalizing.add(total)
                found.interior.add(total)
        graph.refresh()


def _mean_to_sum(graph: Graph, node: Node) -> str:
    """Returns the node of the sum."""
    shape = graph.shapes[node.input[0]]
    axes = np.atleast_1d(graph.value(node.input[1]))
    total = graph.add_node(
        f"{node.name}/sum",
        "Sum",
        list(node.input),
        T=graph.dtypes[node.name],
        Tidx=graph.dtypes[node.input[1]],
        keep_dims=node.attr["keep_dims"].b,
    )
    count = np.prod([shape[axis] for axis in axes])
    factor = np.asarray(1 / count, graph.dtypes[node.name].as_numpy_dtype)
    node.op = "Mul"
    node.input[:] = [total, graph.add_constant(f"{node.name}/factor", factor)]
    del node.attr["Tidx"], node.attr["keep_dims"]
    return total
