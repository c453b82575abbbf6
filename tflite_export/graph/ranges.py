"""Which tensors of a graph need a range, and where it comes from."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from qsparse.tflite_export.files.grid import DEAD, INT8_GRID, Grid
from qsparse.tflite_export.graph.affine import affine_constant
from qsparse.tflite_export.graph.graph import FAKE_QUANT, Graph, Node, node_name
from qsparse.tflite_export.graph.ops import (
    ACTIVATIONS,
    INT8_OPS,
    PRODUCTS,
    SAME_SCALE,
    SELECTS,
    WEIGHTED,
    WITHOUT_RANGE,
    fixed_range,
)


@dataclass
class Range:
    """The range of one tensor.

    Attributes:
        source: "trained", "calibrated" or "fixed" (by the LiteRT kernel).
        low: least value, at most 0; NaN until calibrated.
        high: greatest value, at least 0; NaN until calibrated.
        symmetric: whether calibration must give it a zero point of 0.
        grid: the integers it is divided into.
    """

    source: str
    low: float = float("nan")
    high: float = float("nan")
    symmetric: bool = False
    grid: Grid = INT8_GRID

    @property
    def step(self) -> float:
        """What one integer step is worth: the scale of the tensor in the file."""
        return (self.high - self.low) / self.grid.steps

    def nudged(self) -> "Range":
        """Returns the range moved so that 0 is one of its levels."""
        if self.symmetric and not self.grid.symmetric:
            scale = max(-self.low, self.high, 1e-12) / self.grid.greatest
            least, greatest = self.grid.least, self.grid.greatest
            return replace(self, low=least * scale, high=greatest * scale)
        low, high = self.grid.around(self.low, self.high)
        return Range(self.source, low, high, grid=self.grid)


@dataclass
class Trained:
    """What training fixed about the tensors of a graph, whatever passes do to it.

    Attributes:
        ranges: tensor -> (low, high).
        fixed: the tensors with a range.
        readers: tensor -> nodes that read it rounded.
    """

    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    fixed: set[str] = field(default_factory=set)
    readers: dict[str, set[str]] = field(default_factory=dict)

    def add(self, tensor: str, low: float, high: float, readers: set[str]) -> None:
        """Takes a range down; several on one tensor give one, the widest."""
        old = self.ranges.get(tensor, (0.0, 0.0))
        self.ranges[tensor] = min(old[0], low), max(old[1], high)
        self.readers[tensor] = self.readers.get(tensor, set()) | readers
        self.fixed.add(tensor)

    def drop(self, tensor: str) -> None:
        """Forgets the range of a tensor, if it has one."""
        self.ranges.pop(tensor, None)
        self.readers.pop(tensor, None)
        self.fixed.discard(tensor)

    def replaced(self, old: str, new: str, readers: set[str]) -> None:
        """Moves what is known of a node that is gone to what takes its place."""
        for names in self.readers.values():
            if old in names:
                names.remove(old)
                names |= readers
        if old in self.fixed:
            (low, high), rounded = self.ranges[old], self.readers[old]
            self.drop(old)
            self.add(new, low, high, rounded)


def take_trained(graph: Graph) -> Trained:
    """Removes every fake-quant node.

    Args:
        graph: the frozen graph, changed in place.

    Returns:
        The ranges they had; they follow the graph.
    """
    trained = Trained()
    graph.follow(trained)
    users = graph.users()
    for node in list(graph.nodes.values()):
        if node.op != FAKE_QUANT:
            continue
        tensor, low, high = node.input
        low, high = graph.constant(low), graph.constant(high)
        if low is None or high is None:
            raise ValueError(f"the range of fake-quant node {node.name!r} varies.")
        readers = {user.name for user in users[node.name]}
        graph.replace(node.name, tensor)
        trained.add(tensor, float(low), float(high), readers)
    return trained


def choose(
    graph: Graph,
    trained: dict[str, tuple[float, float]],
    interior: set[str],
    floating: set[str],
    rounded: Iterable[str] = (),
    grid: Grid = INT8_GRID,
) -> dict[str, Range]:
    """Decides which tensors get a range.

    A range goes to the tensor a chain of same-scale ops starts at, so that the op
    that computes it has an int8 output and no requantization follows.

    Args:
        graph: the simplified graph without fake-quant nodes.
        trained: tensor -> trained (low, high).
        interior: tensors that must not get one.
        floating: nodes that compute in float, whatever LiteRT could do.
        rounded: tensors that have a range whatever reads them.
        grid: the integers that ranges are divided into.

    Returns:
        tensor -> range; calibrated ones are still empty.
    """
    users = graph.users()
    ranges: dict[str, Range] = {}
    for tensor, (low, high) in trained.items():
        root = root_of(graph, tensor)
        if root in interior or graph.is_constant(root) or _takes_none(graph, root):
            continue
        if high - low < DEAD:  # its values stopped during training
            low, high = (-DEAD if grid.symmetric else 0.0), DEAD
        if root in ranges:
            low, high = min(low, ranges[root].low), max(high, ranges[root].high)
        ranges[root] = Range("trained", low, high, grid=grid)
    wanted = [*graph.outputs.values(), *rounded]
    for node in graph.nodes.values():
        if node.op in INT8_OPS and node.name not in floating:
            wanted += [*node.input, node.name]
    for tensor in wanted:
        root = root_of(graph, tensor)
        node = graph.nodes[node_name(root)]
        if not graph.dtypes[root].is_floating or node.op == "Const":
            continue
        if _takes_none(graph, root):
            continue
        fixed = fixed_range(node.op) if grid == INT8_GRID else None
        if fixed is not None and root not in interior:
            ranges[root] = Range("fixed", *fixed)
        elif root not in ranges and root not in interior:
            if not fuses_with_next(graph, users, root):
                ranges[root] = Range("calibrated", grid=grid)
    _center_right_sides(graph, ranges)
    return ranges


def _center_right_sides(graph: Graph, ranges: dict[str, Range]) -> None:
    """Makes the ranges symmetric that stand to the right in a product of activations.

    XNNPACK takes an int8 BATCH_MATMUL only if the zero point of its right side is 0;
    elsewhere the runtime multiplies in plain loops, 15 to 36 times slower. Keys, values
    and queries are nearly symmetric anyway.
    """
    for node in graph.nodes.values():
        if node.op not in PRODUCTS:
            continue
        entry = ranges.get(root_of(graph, node.input[1]))
        if entry is not None and entry.source == "calibrated":
            entry.symmetric = True


def root_of(graph: Graph, tensor: str) -> str:
    """Returns the tensor whose scale `tensor` shares."""
    while True:
        source = kept_from(graph, graph.nodes[node_name(tensor)])
        if source is None:
            return tensor
        tensor = source


def kept_from(graph: Graph, node: Node) -> str | None:
    """Returns the tensor whose scale a node keeps; None if it has one of its own."""
    if node.op in SELECTS:
        branches = [t for t in node.input[1:] if not graph.is_constant(t)]
        values = [graph.constant(t) for t in node.input[1:]]
        zeros = all(value is None or not value.any() for value in values)
        if len(branches) != 1 or not zeros:
            return None
        # Of other tensors a select may hide values that would stretch the range.
        root = graph.nodes[node_name(root_of(graph, branches[0]))]
        return None if fixed_range(root.op) is None else branches[0]
    if node.op not in SAME_SCALE or not _keeps_scale(graph, node):
        return None
    source = node.input[1] if node.op == "Split" else node.input[0]
    # The rows of a constant table have a range of their own.
    return None if graph.is_constant(source) else source


def _takes_none(graph: Graph, tensor: str) -> bool:
    return graph.nodes[node_name(tensor)].op in WITHOUT_RANGE


def _keeps_scale(graph: Graph, node: Node) -> bool:
    """Padding keeps the scale only where the padding is exact in any scale."""
    if node.op != "PadV2":
        return True
    value = graph.constant(node.input[2])
    return value is not None and bool(value == 0)


def fuses_with_next(graph: Graph, users: dict, tensor: str) -> bool:
    """Whether the only reader of `tensor` becomes part of the op producing it."""
    if len(users[tensor]) != 1 or tensor in graph.outputs.values():
        return False
    node, user = graph.nodes[node_name(tensor)], users[tensor][0]
    head = node
    while head.op in ("BiasAdd", "BatchToSpaceND", "Squeeze", "ExpandDims", "Reshape"):
        head = graph.nodes[node_name(head.input[0])]
    weighted = head.op in WEIGHTED and graph.is_constant(head.input[1])
    if user.op in ("BatchToSpaceND", "Squeeze") and node.op == "Conv2D":
        # A dilated convolution is one op of three nodes; its bias comes after.
        return fuses_with_next(graph, users, user.name)
    if weighted and node.op != "BiasAdd" and user.op in ("BiasAdd", "AddV2"):
        return affine_constant(graph, user) is not None
    if user.op in ACTIVATIONS and head.op != "Conv2DBackpropInput":
        return weighted or node.op in ("Add", "AddV2", "Sub", "Mul", "BiasAdd")
    return False
