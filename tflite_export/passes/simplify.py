"""Folds bias, scale and BatchNormalization chains into the op before them.

The converter has patterns for this too, but each has conditions of its own (a bias
of rank two after a reshape stays an unfused ADD, a scale after a bias may turn the
op to float). Done here, every convolution and matrix product leaves in one shape:
`op -> BiasAdd -> activation -> Reshape`, and the reference run in TensorFlow uses
the very weights the file is made of.
"""

import numpy as np

from qsparse.tflite_export.graph.graph import Graph, Node, node_name

# Their second input holds the weights.
WEIGHTED = {
    *("Conv2D", "DepthwiseConv2dNative", "Conv2DBackpropInput"),
    *("MatMul", "BatchMatMulV2"),
}
ACTIVATIONS = {"Relu", "Relu6"}
_RESHAPES = {"Reshape", "Squeeze", "ExpandDims"}
_AFFINE = {"BiasAdd", "Add", "AddV2", "Sub", "Mul", "RealDiv"}


def simplify(graph: Graph, fixed: set[str]) -> None:
    """Rewrites `graph` in place until nothing more folds.

    Args:
        graph: the frozen graph.
        fixed: tensors with a range of their own; nothing is folded across them.
    """
    _drop_neutral(graph)
    while _hoist_over_reshape(graph, fixed) or _fold_affine(graph, fixed):
        pass
    graph.refresh()


def by_channel(node: Node, weights: np.ndarray) -> np.ndarray:
    """Returns constant weights as a view of shape (outputs, weights per output).

    The order within an output is that of a LiteRT file.

    Args:
        node: a node of one of the `WEIGHTED` ops.
        weights: its constant second input, rank 2 for a matrix product.
    """
    if node.op == "Conv2D":
        return weights.transpose(3, 0, 1, 2).reshape(weights.shape[3], -1)
    if node.op == "Conv2DBackpropInput":
        return weights.transpose(2, 0, 1, 3).reshape(weights.shape[2], -1)
    if node.op == "DepthwiseConv2dNative":
        return weights.reshape(-1, weights.shape[2] * weights.shape[3]).T
    return weights if is_transposed(node) else weights.T


def data_input(node: Node) -> str:
    """Returns the tensor that a node of the `WEIGHTED` ops multiplies weights with."""
    return node.input[2 if node.op == "Conv2DBackpropInput" else 0]


def over_weights(node: Node, weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Returns one value per channel in a shape that broadcasts over the weights."""
    if node.op == "DepthwiseConv2dNative":
        return values.reshape(1, 1, *weights.shape[2:])
    if node.op == "Conv2DBackpropInput" or is_transposed(node):
        return values[:, None]
    return values


def is_transposed(node: Node) -> bool:
    """Whether a matrix product takes its second operand as (outputs, inputs)."""
    attribute = "transpose_b" if node.op == "MatMul" else "adj_y"
    return attribute in node.attr and node.attr[attribute].b


def affine_constant(graph: Graph, node: Node) -> tuple[str, str] | None:
    """Returns (variable input, constant input) of an affine node, or None."""
    if node.op not in _AFFINE:
        return None
    left, right = node.input[:2]
    if graph.is_constant(right) and not graph.is_constant(left):
        return left, right
    swaps = node.op in ("Add", "AddV2", "Mul")
    if swaps and graph.is_constant(left) and not graph.is_constant(right):
        return right, left
    return None


def _drop_neutral(graph: Graph) -> None:
    """Removes products with one and sums with zero (`swish` multiplies by beta)."""
    for node in list(graph.nodes.values()):
        pair = affine_constant(graph, node)
        if pair is None or graph.shapes[node.name] != graph.shapes[pair[0]]:
            continue
        neutral = 1 if node.op in ("Mul", "RealDiv") else 0
        if np.all(graph.value(pair[1]) == neutral):
            graph.replace(node.name, pair[0])


def channel_count(graph: Graph, node: Node) -> int | None:
    """Returns the number of output channels of a node with constant weights."""
    if node.op not in WEIGHTED or not graph.is_constant(node.input[1]):
        return None
    shape = graph.shapes[node.input[1]]
    if node.op == "DepthwiseConv2dNative":
        return shape[2] * shape[3]
    if node.op == "Conv2DBackpropInput":
        return shape[2]
    if node.op == "BatchMatMulV2" and len(shape) > 2:
        return None  # one matrix per batch entry: no weights of a layer
    return shape[-2] if is_transposed(node) else shape[-1]


def _head_channels(graph: Graph, tensor: str) -> int | None:
    """Returns the channels of the op a chain `op [-> BiasAdd] [-> activation]` ends.

    None if no op with constant weights stands at its start.
    """
    node = graph.nodes[node_name(tensor)]
    while node.op in ACTIVATIONS | {"BiasAdd"}:
        node = graph.nodes[node_name(node.input[0])]
    return channel_count(graph, node)


def _hoist_over_reshape(graph: Graph, fixed: set[str]) -> bool:
    """Moves one element-wise node from behind a reshape to before it."""
    users = graph.users()
    for reshape in graph.nodes.values():
        if reshape.op not in _RESHAPES:
            continue
        source = str(reshape.input[0])
        if (
            reshape.name in fixed
            or len(users[reshape.name]) != 1
            or len(users[source]) != 1
            or source in fixed
            or source in graph.outputs.values()
            or reshape.name in graph.outputs.values()
            or (channels := _head_channels(graph, source)) is None
        ):
            continue
        node = users[reshape.name][0]
        pair = affine_constant(graph, node)
        if pair is not None:
            value = per_channel(graph, pair, channels)
            if value is None:
                continue
            constant = graph.add_constant(f"{node.name}/flat", value)
            node.input[:] = [source, constant]
            if node.op == "BiasAdd":
                node.op = "AddV2"
                node.attr.pop("data_format", None)
        elif node.op in ACTIVATIONS:
            node.input[0] = source
        else:
            continue
        graph.rewire(node.name, reshape.name)
        reshape.input[0] = node.name
        graph.shapes[node.name] = graph.shapes[source]
        return True
    return False


def per_channel(
    graph: Graph, pair: tuple[str, str], channels: int
) -> np.ndarray | None:
    """Returns the constant as one value per channel, if it is one.

    Args:
        graph: the graph.
        pair: the (variable, constant) inputs of an affine node.
        channels: output channels of the op the node belongs to; they may be spread
            over several trailing axes of the variable, as in EinsumDense.
    """
    shape = graph.shapes[pair[0]]
    value = graph.value(pair[1])
    if value.ndim > len(shape) or -1 in shape:
        return None
    if value.size == 1:
        return np.full(channels, value.reshape(-1)[0], value.dtype)
    trailing = 1
    while trailing <= len(shape) and np.prod(shape[-trailing:]) < channels:
        trailing += 1
    if np.prod(shape[-trailing:]) != channels:
        return None
    lead = value.shape[:-trailing]
    if any(size != 1 for size in lead):
        return None
    kept = value.reshape(value.shape[len(lead) :])
    return np.ascontiguousarray(np.broadcast_to(kept, shape[-trailing:])).reshape(-1)


def _fold_affine(graph: Graph, fixed: set[str]) -> bool:
    """Folds one affine node into the weights and bias before it."""
    users = graph.users()
    for node in graph.nodes.values():
        pair = affine_constant(graph, node)
        if pair is None or pair[0] in fixed or pair[0] in graph.outputs.values():
            continue
        before = graph.nodes[node_name(pair[0])]
        bias = None
        op = before
        if before.op == "BiasAdd" and graph.is_constant(before.input[1]):
            bias = graph.value(before.input[1])
            op = graph.nodes[node_name(before.input[0])]
            if before.input[0] in fixed or len(users[op.name]) != 1:
                continue
        channels = channel_count(graph, op)
        if channels is None or len(users[pair[0]]) != 1:
            continue
        if bias is None and node.op == "BiasAdd":
            continue  # the form everything else is brought to
        value = per_channel(graph, pair, channels)
        if value is None or graph.shapes[node.name] != graph.shapes[pair[0]]:
            continue
        if bias is None:
            bias = np.zeros(channels, value.dtype)
        if node.op in ("Mul", "RealDiv"):
            factor = value if node.op == "Mul" else 1 / value
            _scale_weights(graph, op, factor)
            bias = bias * factor
        else:
            bias = bias - value if node.op == "Sub" else bias + value
        name = graph.add_constant(f"{node.name}/bias", bias)
        node.op = "BiasAdd"
        node.input[:] = [op.name, name]
        if before is not op:
            del graph.nodes[before.name]
        return True
    return False


def _scale_weights(graph: Graph, op: Node, factor: np.ndarray) -> None:
    weights = graph.value(op.input[1])
    factor = over_weights(op, weights, factor)
    scaled = weights * factor
    op.input[1] = graph.add_constant(f"{op.name}/scaled", scaled, like=op.input[1])
