"""Where the channels of a layer go, as long as every op treats them alike."""

import math
import string
from dataclasses import dataclass, field

import numpy as np

from qsparse.tflite_export.graph.channels import produced_channels, takes_factors
from qsparse.tflite_export.graph.graph import Graph, Node, node_name
from qsparse.tflite_export.graph.ops import HOMOGENEOUS, POOLS, PRODUCTS, SUMS
from qsparse.tflite_export.graph.ranges import fuses_with_next

# f(a * x) = a * f(x) for a > 0, but for where ReLU6 ends.


@dataclass
class Path:
    """Layers that share the channels of the tensors between them.

    Attributes:
        channels: how many.
        producers: what the channels come from: a BiasAdd, or a layer without one.
        consumers: layers that read the channels, each with the channel of each of
            its inputs.
        ranged: the tensors with the channels on their last axis, but for those that
            an activation becomes part of.
        clipped: whether a ReLU6 is among the ops.
    """

    channels: int
    producers: list[Node] = field(default_factory=list)
    consumers: list[tuple[Node, np.ndarray]] = field(default_factory=list)
    ranged: list[str] = field(default_factory=list)
    clipped: bool = False


def find_paths(graph: Graph, floating: set[str], fixed: set[str]) -> list[Path]:
    """Finds every path in a graph, in its order.

    Args:
        graph: a simplified graph.
        floating: nodes that compute in float; no path leads through them.
        fixed: tensors with a trained range, which holds for the tensor as it is.
    """
    search = _Search(graph, graph.users(), floating, fixed)
    found: list[Path] = []
    seen: set[str] = set()
    for node in graph.nodes.values():
        channels = produced_channels(graph, search.users, node)
        if channels is None or node.name in seen:
            continue
        try:
            path = search.path_from(node, channels)
        except _NoPathError:
            continue
        seen |= {producer.name for producer in path.producers}
        if path.consumers:
            found.append(path)
    return found


class _NoPathError(Exception):
    """Something that reads or makes a tensor does not treat its channels alike."""


# A tensor, and an array of its shape that says which channel each element is of.
_Step = tuple[str, np.ndarray]


@dataclass(frozen=True)
class _Search:
    """The arguments of `find_paths`, and the readers of each tensor."""

    graph: Graph
    users: dict[str, list[Node]]
    floating: set[str]
    fixed: set[str]

    def path_from(self, node: Node, channels: int) -> Path:
        """Returns the path that begins at a producer, and wherever it joins others.

        Raises:
            _NoPathError: there is none.
        """
        path = Path(channels)
        outputs = set(self.graph.outputs.values())
        known: dict[str, np.ndarray] = {}
        waiting = [(node.name, self._on_last_axis(node.name, channels))]
        while waiting:
            tensor, which = waiting.pop()
            if tensor in known:
                if not np.array_equal(known[tensor], which):
                    raise _NoPathError
                continue
            if tensor in self.fixed or tensor in outputs:
                raise _NoPathError
            known[tensor] = which
            waiting += self._in_front(path, known, tensor)
            for user in self.users[tensor]:
                waiting += self._behind(path, user, tensor, which)
            fused = fuses_with_next(self.graph, self.users, tensor)
            if _is_last(which, channels) and not fused:
                path.ranged.append(tensor)
        for name in map(node_name, known):
            node = self.graph.nodes[name]
            # Of two tensors of one path, a product would take the factors twice.
            if node.op in PRODUCTS and sum(t in known for t in node.input) > 1:
                raise _NoPathError
        return path

    def _in_front(
        self, path: Path, known: dict[str, np.ndarray], tensor: str
    ) -> list[_Step]:
        """Returns what a tensor is made of; takes its producer down."""
        node = self.graph.nodes[node_name(tensor)]
        which = known[tensor]
        if node.name in self.floating:
            raise _NoPathError
        produced = produced_channels(self.graph, self.users, node)
        if produced == path.channels and _is_last(which, path.channels):
            path.producers.append(node)
            return []
        if node.op in HOMOGENEOUS | SUMS:
            return [(source, which) for source in node.input]
        if any(source in known for source in node.input):
            return []
        raise _NoPathError  # it joins a sum by a way that is not followed back

    def _behind(
        self, path: Path, node: Node, tensor: str, which: np.ndarray
    ) -> list[_Step]:
        """Returns what a node makes of a tensor; takes a consumer down."""
        if node.name in self.floating:
            raise _NoPathError
        if node.op in HOMOGENEOUS:
            path.clipped |= node.op == "Relu6"
            return [(node.name, which)]
        after = self._moved(node, tensor, which, path.channels)
        if after is not None:
            return [(node.name, after)]
        path.consumers.append((node, self._consumed(node, tensor, which)))
        return []

    def _moved(
        self, node: Node, tensor: str, which: np.ndarray, channels: int
    ) -> np.ndarray | None:
        """Returns where a node that computes nothing per channel puts the channels."""
        shape = self.graph.shapes[node.name]
        if not shape or -1 in shape:
            raise _NoPathError
        if node.op in SUMS:
            same = all(self.graph.shapes[source] == shape for source in node.input)
            return which if same else None
        if node.op == "Reshape" and math.prod(shape) == which.size:
            return which.reshape(shape)
        if node.op == "Transpose" and self.graph.is_constant(node.input[1]):
            return which.transpose(self.graph.value(node.input[1]))
        if node.op in PRODUCTS and not self.graph.is_constant(node.input[1]):
            return self._weighted(node, tensor, which)
        if not _is_last(which, channels):
            return None
        if node.op in POOLS or self._pads_or_averages(node, which.ndim):
            return self._on_last_axis(node.name, channels)
        return None

    def _weighted(
        self, node: Node, tensor: str, which: np.ndarray
    ) -> np.ndarray | None:
        """Returns the channels of sums that another tensor weighs.

        They are those of the summands, if all summands are of one channel.
        """
        operands, summed = _letters(node, which.ndim)
        if operands is None or list(node.input).count(tensor) != 1:
            return None
        own = operands[list(node.input).index(tensor)]
        for letter in own:
            if letter not in summed:
                first = np.take(which, [0], axis=own.index(letter))
                if (which != first).any():
                    return None
                which = np.squeeze(first, own.index(letter))
                own = own.replace(letter, "")
        which = which.transpose([own.index(x) for x in summed if x in own])
        places = [slice(None) if letter in own else None for letter in summed]
        return np.broadcast_to(which[tuple(places)], self.graph.shapes[node.name])

    def _pads_or_averages(self, node: Node, rank: int) -> bool:
        """Whether a node pads with zeros, or averages, along other axes."""
        if node.op not in ("Pad", "Mean") or not self.graph.is_constant(node.input[1]):
            return False
        value = self.graph.value(node.input[1])
        if node.op == "Pad":
            return not value[-1].any()
        return rank - 1 not in np.atleast_1d(value) % rank

    def _consumed(self, node: Node, tensor: str, which: np.ndarray) -> np.ndarray:
        """Returns the channel of each input of a layer."""
        row = which.reshape(-1, which.shape[-1])[0]
        if tensor != node.input[0] or (which != row).any():
            raise _NoPathError
        if not takes_factors(self.graph, node, len(row)):
            raise _NoPathError
        return row

    def _on_last_axis(self, tensor: str, channels: int) -> np.ndarray:
        shape = self.graph.shapes[tensor]
        if -1 in shape or shape[-1:] != (channels,):
            raise _NoPathError
        return np.broadcast_to(np.arange(channels), shape)


def _letters(node: Node, rank: int) -> tuple[list[str] | None, str]:
    """Returns the axes of both operands of a product and of its result, as letters."""
    if node.op == "Einsum":
        left, result = node.attr["equation"].s.decode().split("->")
        operands = left.split(",")
        plain = len(operands) == 2 and "." not in left
        return (operands if plain else None), result
    batch = string.ascii_lowercase[: rank - 2]
    if node.attr["adj_x"].b or node.attr["adj_y"].b:
        return None, ""
    return [f"{batch}XY", f"{batch}YZ"], f"{batch}XZ"


def _is_last(which: np.ndarray, channels: int) -> bool:
    """Whether the channels are the last axis."""
    return which.shape[-1] == channels and bool((which == np.arange(channels)).all())
