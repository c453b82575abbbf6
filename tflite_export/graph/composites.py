"""Groups of nodes the converter treats as one op, or that must stay in float.

A fake-quant node inside GELU or hard-swish breaks the pattern the converter looks
for, and what is left has no int8 kernel. Inside LayerNormalization it would put a
variance on 256 levels. So ranges are placed around these groups, never within.
"""

from dataclasses import dataclass, field

from qsparse.tflite_export.graph.affine import affine_constant
from qsparse.tflite_export.graph.graph import Graph, Node, node_name
from qsparse.tflite_export.graph.ops import GATE_PARTS, GATES, STATISTICS

_MOST_NODES = 16  # in one group; the largest known has eleven


@dataclass(frozen=True)
class Gate:
    """An activation `x * gate(x)`: GELU or hard-swish.

    Attributes:
        base: the tensor x.
        inside: its nodes but the last.
        end: its last node.
    """

    base: str
    inside: set[str]
    end: str


@dataclass(frozen=True)
class Composites:
    """The groups of a graph.

    Attributes:
        interior: tensors that must not get a range. What leaves a group is not among
            them.
        normalizing: every node of a normalization.
        gates: the gated activations.
    """

    interior: set[str] = field(default_factory=set)
    normalizing: set[str] = field(default_factory=set)
    gates: list[Gate] = field(default_factory=list)


def find_composites(graph: Graph) -> Composites:
    """Finds every group.

    Args:
        graph: a simplified graph.
    """
    users = graph.users()
    interior: set[str] = set()
    normalizing: set[str] = set()
    gates: list[Gate] = []
    for node in list(graph.nodes.values()):
        if node.op in GATES:
            gate = _gated(graph, users, node)
            if gate is not None:
                gates.append(gate)
                interior |= gate.inside
        elif node.op == "Neg":
            interior |= _prelu(graph, users, node)
        elif node.op in ("Rsqrt", "Sqrt"):
            region, leaving = _normalization(graph, users, node)
            interior |= region - leaving
            normalizing |= region
    return Composites(interior, normalizing, gates)


def _gated(graph: Graph, users: dict, anchor: Node) -> Gate | None:
    """GELU (erf, erfc or tanh) and hard-swish: `x * gate(x)`."""
    node = anchor
    while True:
        if len(users[node.name]) != 1:
            return None
        previous, node = node, users[node.name][0]
        if affine_constant(graph, node) is None:
            break
    if node.op != "Mul":
        return None
    base = next((t for t in node.input if t != previous.name), None)
    if base is None:
        return None
    half = affine_constant(graph, graph.nodes[node_name(base)])
    scaled = False
    if half is not None and _between(graph, half[0], node.name):
        base, scaled = half[0], True
    inside = _between(graph, base, node.name)
    if not inside:
        return None
    factors = sum(graph.nodes[name].op in ("Mul", "RealDiv") for name in inside)
    waiting = factors == 0 if anchor.op == "Relu6" else not scaled
    following = users[node.name]
    if waiting and len(following) == 1 and affine_constant(graph, following[0]):
        inside.add(node.name)  # the constant factor comes after the product
        node = following[0]
    return Gate(base, inside, node.name)


def _prelu(graph: Graph, users: dict, anchor: Node) -> set[str]:
    """PReLU: `relu(x) + -alpha * relu(-x)`."""
    node = anchor
    for op in ("Relu", "Mul", "AddV2"):
        following = users[node.name]
        if len(following) != 1 or following[0].op != op:
            return set()
        node = following[0]
    return _between(graph, anchor.input[0], node.name)


def _between(graph: Graph, base: str, end: str) -> set[str]:
    """Returns the nodes between `base` and `end`, both excluded.

    Empty if `end` depends on anything but `base`, constants and element-wise math.
    """
    inside: set[str] = set()
    stack = list(graph.nodes[end].input)
    while stack:
        tensor = stack.pop()
        node = graph.nodes[node_name(tensor)]
        if tensor == base or node.op == "Const" or node.name in inside:
            continue
        if node.op not in GATE_PARTS or len(inside) == _MOST_NODES:
            return set()
        inside.add(node.name)
        stack += node.input
    return inside


def _normalization(
    graph: Graph, users: dict, anchor: Node
) -> tuple[set[str], set[str]]:
    """Layer, group and RMS normalization around a (reciprocal) square root.

    Returns:
        Its nodes, and those of them that others read.
    """
    base, region = _statistics(graph, anchor)
    if base is None:
        return set(), set()
    for node in graph.nodes.values():  # topological: one sweep closes the region
        variable = [t for t in node.input if not graph.is_constant(t)]
        if (
            node.op in STATISTICS
            and any(node_name(t) in region for t in variable)
            and all(t == base or node_name(t) in region for t in variable)
        ):
            region.add(node.name)
    leaving = {
        name
        for name in region
        if name in graph.outputs.values()
        or any(user.name not in region for user in users[name])
    }
    return region, leaving


def _statistics(graph: Graph, anchor: Node) -> tuple[str | None, set[str]]:
    """Walks up from a square root to the tensor whose statistics it takes.

    Returns:
        That tensor (None if this is not a normalization) and the nodes on the way,
        `anchor` included.
    """
    above = {anchor.name}
    bases = set()
    frontier = list(anchor.input)
    while frontier:
        tensor = frontier.pop()
        node = graph.nodes[node_name(tensor)]
        if node.op == "Const" or node.name in above:
            continue
        if len(above) == _MOST_NODES:
            return None, set()
        if node.op == "Mean":
            above.add(node.name)
            source = graph.nodes[node_name(node.input[0])]
            if source.op in ("SquaredDifference", "Square", "Mul"):
                above.add(source.name)
                bases.add(source.input[0])
                frontier += [t for t in source.input if t != source.input[0]]
            else:
                bases.add(node.input[0])
        elif node.op in STATISTICS:
            above.add(node.name)
            frontier += node.input
        else:
            return None, set()
    bases = {tensor for tensor in bases if node_name(tensor) not in above}
    return (bases.pop(), above) if len(bases) == 1 else (None, set())
