"""Ops whose int8 operands and result LiteRT has on one scale.

A maximum or a selection copies integers. The converter rounds operands on other scales
once more, to that of the result. Operands that nothing else reads can have it at once:
what lies beyond the range of the result is not selected, or cut there anyway.
"""

from dataclasses import replace

from qsparse.tflite_export.graph import Graph, Node
from qsparse.tflite_export.ranges import ONE_SCALE, Range, root_of


def share_ranges(graph: Graph, ranges: dict[str, Range]) -> None:
    """Gives operands that nothing else reads the range of the result.

    Args:
        graph: the graph before the last fake-quant nodes.
        ranges: tensor -> range; calibrated ones are changed in place.
    """
    users = graph.users()
    outputs = set(graph.outputs.values())
    for node in reversed(list(graph.nodes.values())):
        entry = ranges.get(node.name)
        if node.op not in ONE_SCALE or entry is None:
            continue
        for operand in _operands(graph, node):
            root = root_of(graph, operand)
            known = ranges.get(root)
            alone = users[root] == [node] and root == operand and root not in outputs
            if alone and known is not None and known.source == "calibrated":
                ranges[root] = replace(known, low=entry.low, high=entry.high)


def _operands(graph: Graph, node: Node) -> list[str]:
    return [
        tensor
        for tensor in dict.fromkeys(node.input)
        if graph.dtypes[tensor].is_floating and not graph.is_constant(tensor)
    ]
