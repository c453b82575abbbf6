"""What the converter refuses in int16 computes in float, between integers.

The converter (TensorFlow 2.21) has no int16 form of softmax, sigmoid, tanh, GELU, of a
concatenation and a few more, nor of arithmetics with a constant, though LiteRT has
kernels for most. It takes their operands for integers because they are rounded in
front of them, and some also because their result is rounded behind them.

    softmax(q(x))          ->  softmax(float(q(x)))
    q(concat(q(x), q(y)))  ->  q(float(concat(float(q(x)), float(q(y)))))
"""

from qsparse.tflite_export.graph.affine import affine_constant
from qsparse.tflite_export.graph.graph import FAKE_QUANT, Graph, Node, node_name
from qsparse.tflite_export.graph.ops import INT8_ONLY, JOINS, SAME_SCALE
from qsparse.tflite_export.graph.ranges import root_of
from qsparse.tflite_export.passes.base import Context, Pass
from qsparse.tflite_export.passes.one_scale import dequantized


class FloatIslands(Pass):
    """Reads integers back to float in front of what has no int16 form."""

    name = "float_islands"

    def apply(self, graph: Graph, context: Context) -> None:
        """See the module."""
        ends = {gate.end for gate in context.composites.gates}
        grouped = (context.composites.interior | ends) - context.normalizing
        read_back: dict[str, str] = {}
        for node in list(graph.nodes.values()):
            lone = affine_constant(graph, node) is not None
            if not (lone or node.op in INT8_ONLY or node.name in grouped):
                continue
            sources = [_rounded(graph, tensor) for tensor in node.input]
            for position, tensor in enumerate(node.input):
                if sources[position] is None:
                    continue
                if tensor not in read_back:
                    read_back[tensor] = dequantized(graph, tensor)
                node.input[position] = read_back[tensor]
            found = [source for source in sources if source is not None]
            if found and node.op in SAME_SCALE | JOINS:
                _round_again(graph, node, found[0])
        graph.refresh()


def _rounded(graph: Graph, tensor: str) -> Node | None:
    """Returns the fake-quant node whose integers a tensor holds, or None."""
    if graph.is_constant(tensor) or not graph.dtypes[tensor].is_floating:
        return None
    root = graph.nodes[node_name(root_of(graph, tensor))]
    return root if root.op == FAKE_QUANT else None


def _round_again(graph: Graph, node: Node, source: Node) -> None:
    """Rounds what a node only moves behind it, where integers are read."""
    behind = [user for user in graph.users()[node.name] if user.op == FAKE_QUANT]
    if not behind and node.op in JOINS:
        return  # all that reads it is float
    result = dequantized(graph, node.name)
    for user in behind:
        user.input[0] = result
    if behind:
        return
    name = graph.add_node(
        f"{node.name}/fake_quant",
        FAKE_QUANT,
        [result, *source.input[1:]],
        num_bits=source.attr["num_bits"].i,
        narrow_range=source.attr["narrow_range"].b,
    )
    graph.shapes[name], graph.dtypes[name] = (
        graph.shapes[node.name],
        graph.dtypes[node.name],
    )
    graph.rewire(node.name, name, keep=[graph.nodes[result].input[0]])
