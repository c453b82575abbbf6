"""An editable frozen TensorFlow graph: the form every export pass works on."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
import tensorflow as tf

from qsparse.tflite_export.graph.ops import NO_OPS

Node: TypeAlias = tf.compat.v1.NodeDef
FAKE_QUANT = "FakeQuantWithMinMaxVars"
# Elements of a constant that TensorFlow gets by reference. Shapes, axes and ranges are
# smaller, and shape inference must see them; weights would be copied at every import.
LARGE = 4096


def tensor_name(reference: str) -> str:
    """Returns the canonical name of a tensor: `a` for `a:0`, `a:1` as it is."""
    return reference.removesuffix(":0")


def node_name(tensor: str) -> str:
    """Returns the name of the node that produces `tensor`."""
    return tensor.split(":")[0]


@dataclass(frozen=True)
class LayerKernel:
    """What training fixed of the weights in a constant, element by element.

    Attributes:
        path: path of the layer the weights are of.
        integers: int8, of the constant's shape: each output channel of it is a
            multiple of them; None if the weights are on no grid.
        mask: bool, of the constant's shape, True where kept; None if the layer is
            not pruned.
    """

    path: str
    integers: np.ndarray | None
    mask: np.ndarray | None


class Follower(Protocol):
    """Knows tensors and nodes of a graph by their names, and must not lose them."""

    def replaced(self, old: str, new: str, readers: set[str]) -> None:
        """Is told that a node is gone.

        Args:
            old: the node, and the tensor it computed.
            new: a tensor with the same values, which takes its place.
            readers: nodes that read `old` and read `new` now.
        """


class Graph:
    """A frozen inference graph with named inputs and outputs.

    Nodes are plain `NodeDef`s in topological order, without control edges and
    identities. The values of constants are kept beside the nodes, as arrays that
    nobody writes to.

    Attributes:
        nodes: node name -> NodeDef, in topological order.
        inputs: signature name -> name of the placeholder.
        outputs: signature name -> canonical tensor name.
        shapes: canonical tensor name -> static shape; -1 for an unknown size, () for
            an unknown rank.
        dtypes: canonical tensor name -> `tf.DType`.
        kernels: constant -> the trained weights it holds, moved as they were.
        blended: constant -> paths of the layers whose trained weights it was computed
            from in any other way.
        layers: node -> path of the layer it was traced in; see `layer_of`.
    """

    def __init__(
        self,
        graph_def: tf.compat.v1.GraphDef,
        inputs: dict[str, str],
        outputs: dict[str, str],
        weights: Mapping[str, np.ndarray] | None = None,
        kernels: Mapping[str, LayerKernel] | None = None,
        layers: Mapping[str, str] | None = None,
    ) -> None:
        """Takes the nodes over, simplifies them and infers every shape.

        Args:
            graph_def: a flat graph without variables and function calls.
            inputs: signature name -> placeholder node.
            outputs: signature name -> tensor.
            weights: placeholder node -> the constant it stands for.
            kernels: those of them that are trained weights.
            layers: node -> path of the layer it was traced in.
        """
        self.nodes = {node.name: node for node in graph_def.node}
        self._library = graph_def.library  # bodies of loops and branches
        self._values: dict[str, np.ndarray] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.dtypes: dict[str, tf.DType] = {}
        self.kernels = dict(kernels or {})
        self.blended: dict[str, frozenset[str]] = {}
        self.layers = dict(layers or {})
        self.inputs = dict(inputs)
        self.outputs = {name: tensor_name(t) for name, t in outputs.items()}
        self._followers: list[Follower] = []
        for node in self.nodes.values():
            data = [tensor_name(i) for i in node.input if not i.startswith("^")]
            del node.input[:]
            node.input.extend(data)
            # Where to compute it: beside a node of an inlined function that is gone.
            node.attr.pop("_class", None)
            if node.op == "Const":
                self._values[node.name] = tf.make_ndarray(node.attr["value"].tensor)
                del node.attr["value"]
        for name, value in (weights or {}).items():
            self.nodes[name].op = "Const"
            self.nodes[name].attr.pop("shape", None)
            self._values[name] = value
        self._drop_no_ops()
        self.refresh()

    def refresh(self) -> None:
        """Drops dead nodes, restores topological order, infers shapes again."""
        self._sort()
        with tf.Graph().as_default() as graph:
            tf.graph_util.import_graph_def(self.definition(), name="")
        self.shapes.clear()
        self.dtypes.clear()
        for operation in graph.get_operations():
            for tensor in operation.outputs:
                name = tensor_name(tensor.name)
                known = tensor.shape.rank is not None
                sizes = tensor.shape.as_list() if known else []
                self.shapes[name] = tuple(-1 if n is None else n for n in sizes)
                self.dtypes[name] = tensor.dtype

    def large_constants(self) -> dict[str, np.ndarray]:
        """Returns the constants that `traceable` takes as `weights`, by name."""
        return {
            name: value for name, value in self._values.items() if value.size > LARGE
        }

    def users(self) -> dict[str, list[Node]]:
        """Returns canonical tensor name -> nodes that read it."""
        users: dict[str, list[Node]] = defaultdict(list)
        for node in self.nodes.values():
            for tensor in node.input:
                users[tensor].append(node)
        return users

    def constant(self, tensor: str) -> np.ndarray | None:
        """Returns the value of `tensor` if it is a constant, else None."""
        return self.value(tensor) if self.is_constant(tensor) else None

    def value(self, tensor: str) -> np.ndarray:
        """Returns the value of a tensor that is known to be constant."""
        return self._values[tensor]

    def is_constant(self, tensor: str) -> bool:
        """Returns whether `tensor` is a constant, without copying its value."""
        node = self.nodes.get(tensor)
        return node is not None and node.op == "Const"

    def is_trained(self, tensor: str) -> bool:
        """Returns whether `tensor` holds weights that training put on a grid."""
        kernel = self.kernels.get(tensor)
        return kernel is not None and kernel.integers is not None

    def layer_of(self, node: str) -> str:
        """Returns the path of the layer a node was traced in; "" outside of all.

        What a pass adds is named after the node it belongs to: `conv/scaled` and
        `conv/copy_1` are of the layer of `conv`.
        """
        while node not in self.layers and "/" in node:
            node = node.rpartition("/")[0]
        return self.layers.get(node, "")

    def add_constant(
        self, name: str, value: np.ndarray, like: str | None = None
    ) -> str:
        """Adds a constant; returns its (unique) tensor name.

        Args:
            name: wanted name.
            value: its value.
            like: the constant whose place it takes, if these are the same weights,
                each output channel multiplied by a factor.
        """
        node = Node(name=self._unique(name), op="Const")
        node.attr["dtype"].type = tf.as_dtype(value.dtype).as_datatype_enum
        self.nodes[node.name] = node
        self._values[node.name] = value
        self.shapes[node.name] = value.shape
        self.dtypes[node.name] = tf.as_dtype(value.dtype)
        if like in self.kernels:
            self.kernels[node.name] = self.kernels[like]
        if like in self.blended:
            self.blended[node.name] = self.blended[like]
        return node.name

    def add_node(self, name: str, op: str, inputs: Iterable[str], **attrs: Any) -> str:
        """Adds a node; returns the canonical name of its first output.

        Args:
            name: wanted name, below that of the node it belongs to; a suffix makes it
                unique.
            op: TensorFlow op.
            inputs: canonical tensor names.
            **attrs: int, bool or `tf.DType` attributes.
        """
        node = Node(name=self._unique(name), op=op, input=inputs)
        for key, value in attrs.items():
            if isinstance(value, tf.DType):
                node.attr[key].type = value.as_datatype_enum
            elif isinstance(value, bool):
                node.attr[key].b = value
            else:
                node.attr[key].i = value
        self.nodes[node.name] = node
        return node.name

    def copy_node(self, node: Node, inputs: Iterable[str]) -> str:
        """Adds a copy of a node that reads other tensors; returns its name."""
        copy = Node()
        copy.CopyFrom(node)
        copy.name = self._unique(f"{node.name}/copy")
        copy.input[:] = inputs
        self.nodes[copy.name] = copy
        return copy.name

    def rewire(self, old: str, new: str, keep: Iterable[str] = ()) -> None:
        """Makes every reader of `old`, outputs included, read `new` instead.

        Args:
            old: canonical tensor name.
            new: canonical tensor name.
            keep: nodes that go on reading `old`.
        """
        keep = set(keep)
        for node in self.nodes.values():
            if node.name in keep:
                continue
            for position, tensor in enumerate(node.input):
                if tensor == old:
                    node.input[position] = new
        for name, tensor in self.outputs.items():
            if tensor == old:
                self.outputs[name] = new

    def follow(self, follower: Follower) -> None:
        """Tells `follower` of every node that `replace` takes out from now on."""
        self._followers.append(follower)

    def replace(self, node: str, tensor: str) -> None:
        """Takes out a node whose readers, outputs included, may read `tensor` instead.

        What followers know of the node's tensor goes on to hold for the other.

        Args:
            node: a node with one output.
            tensor: canonical name of a tensor with the same values.
        """
        readers = {n.name for n in self.nodes.values() if node in n.input}
        self.rewire(node, tensor)
        del self.nodes[node]
        for follower in self._followers:
            follower.replaced(node, tensor, readers)

    def signature(self) -> list[tf.TensorSpec]:
        """Returns one static spec per input, in order."""
        return [
            tf.TensorSpec(
                [d.size for d in self.nodes[node].attr["shape"].shape.dim],
                tf.as_dtype(self.nodes[node].attr["dtype"].type),
                name,
            )
            for name, node in self.inputs.items()
        ]

    def fingerprint(self) -> int:
        """Returns a number that is another one when the graph is another graph."""
        nodes = (
            node.SerializeToString(deterministic=True) for node in self.nodes.values()
        )
        values = ((name, id(value)) for name, value in self._values.items())
        return hash((*nodes, *values, *self.outputs.items()))

    def definition(self) -> tf.compat.v1.GraphDef:
        """Returns the graph, its large constants as placeholders."""
        graph_def = tf.compat.v1.GraphDef()
        for node in self.nodes.values():
            copy = graph_def.node.add()
            copy.CopyFrom(node)
            if node.op != "Const":
                continue
            value = self._values[node.name]
            if value.size > LARGE:
                copy.op = "Placeholder"
                copy.attr["shape"].shape.CopyFrom(
                    tf.TensorShape(value.shape).as_proto()
                )
            else:
                copy.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
        graph_def.library.CopyFrom(self._library)
        return graph_def

    def _unique(self, name: str) -> str:
        candidate, count = name, 0
        while candidate in self.nodes:
            count += 1
            candidate = f"{name}_{count}"
        return candidate

    def _drop_no_ops(self) -> None:
        for node in list(self.nodes.values()):
            if node.op in NO_OPS:
                self.rewire(node.name, node.input[0])
                del self.nodes[node.name]
            elif node.op == "IdentityN":  # what a custom gradient leaves behind
                for index, tensor in enumerate(list(node.input)):
                    self.rewire(tensor_name(f"{node.name}:{index}"), tensor)
                del self.nodes[node.name]
        self._sort()

    def _sort(self) -> None:
        order: dict[str, Node] = {}
        roots = [*self.inputs.values(), *map(node_name, self.outputs.values())]
        stack = [(name, False) for name in reversed(roots)]
        while stack:
            name, done = stack.pop()
            if name in order:
                continue
            if done:
                order[name] = self.nodes[name]
                continue
            stack.append((name, True))
            stack.extend(
                (node_name(t), False) for t in reversed(self.nodes[name].input)
            )
        self.nodes = order
        self._values = {n: v for n, v in self._values.items() if n in order}
        self.kernels = {n: k for n, k in self.kernels.items() if n in order}
        self.blended = {n: b for n, b in self.blended.items() if n in order}
