"""What lies between the quantized tensors of a graph, and which layers that is."""

from dataclasses import dataclass

from qsparse.tflite_export.graph.graph import FAKE_QUANT, Graph, Node, node_name
from qsparse.tflite_export.graph.ops import WEIGHTED


@dataclass(frozen=True)
class Region:
    """The nodes that compute one quantized tensor from the ones before it.

    Attributes:
        tensor: the tensor of the graph.
        inputs: the quantized tensors it is computed from.
        layer: path of the Keras layer: the one with the weights, if any; else that of
            the last node; "" outside of all layers.
        fused: other layers computed on the way, e.g. BatchNormalization and ReLU.
        head: the node with the constant weights; None if there is none.
    """

    tensor: str
    inputs: tuple[str, ...]
    layer: str
    fused: tuple[str, ...]
    head: Node | None


def find_region(graph: Graph, tensor: str, quantized: set[str]) -> Region:
    """Walks up from a quantized tensor to those it is computed from.

    Args:
        graph: the fake-quantized graph.
        tensor: a tensor with a range.
        quantized: every tensor with a range.
    """
    inputs: list[str] = []
    inside: dict[str, Node] = {}
    stack = [tensor]
    while stack:
        node = graph.nodes[node_name(stack.pop())]
        if node.op == FAKE_QUANT and node.input[0] in quantized:
            if node.input[0] not in inputs:
                inputs.append(node.input[0])
        elif node.op != "Const" and node.name not in inside:
            inside[node.name] = node
            stack += reversed(node.input)
    weighted = [
        node
        for node in inside.values()
        if node.op in WEIGHTED and graph.is_constant(node.input[1])
    ]
    head = weighted[0] if weighted else None
    layer = graph.layer_of((head or graph.nodes[node_name(tensor)]).name)
    others = dict.fromkeys(graph.layer_of(name) for name in reversed(inside))
    fused = tuple(other for other in others if other not in ("", layer))
    return Region(tensor, tuple(inputs), layer, fused, head)
