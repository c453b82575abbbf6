"""Gives layers with int16 activations biases of 64 bits.

The converter (TensorFlow 2.21) writes biases of 32 bits. LiteRT's CONV_2D and
TRANSPOSE_CONV read them as if they had 64, without an error, and DEPTHWISE_CONV_2D
refuses them. And what does not fit into 32 bits, as behind a channel of zeros, whose
scale is tiny, is cut off; the graph knows what it was.
"""

from collections.abc import Iterator

import numpy as np

from qsparse.tflite_export.files.model_file import ModelFile
from qsparse.tflite_export.files.model_parts import CHANNEL_AXIS, Op, Tensor
from qsparse.tflite_export.graph.graph import Graph, Node, node_name
from qsparse.tflite_export.graph.ops import RESHAPES
from qsparse.tflite_export.graph.weighted import multiplies, rows_of

# LiteRT scales sums of less than 2^47; half of it is left to the products.
LARGEST = 2**46
_FITS_EASILY = 2**30
_CUT = 2**31 - 1
_ROUNDING = 0.51  # half a step, and what float32 adds to it
_FLOAT_ROUNDING = 1e-6  # what scales and biases in float32 are off by
_PLACES = {
    "FULLY_CONNECTED": 2,
    "CONV_2D": 2,
    "DEPTHWISE_CONV_2D": 2,
    "TRANSPOSE_CONV": 3,
}


def widen_biases(file: ModelFile, graph: Graph) -> None:
    """Writes every bias beside int16 activations with 64 bits.

    A channel whose bias would still be too large gets a coarser scale; beside such a
    bias its weights are next to nothing.

    Args:
        file: a file as it was converted; changed in place.
        graph: the graph it was converted from.

    Raises:
        RuntimeError: a bias was cut off, and it is not known what it was.
    """
    for op in file.ops:
        place = _PLACES.get(op.name, len(op.inputs))
        bias = op.inputs[place] if place < len(op.inputs) else None
        weights = op.inputs[1] if len(op.inputs) > 1 else None
        if bias is None or weights is None or not op.is_a16w8:
            continue
        if bias.dtype != np.int32 or bias.data is None or weights.data is None:
            continue
        values = bias.data.astype(np.int64)
        if (np.abs(values) >= _CUT).any():
            values = _coarsened(file, op, weights, bias, _uncut(graph, op, bias))
        file.set_int64(bias, values)


def _uncut(graph: Graph, op: Op, bias: Tensor) -> np.ndarray:
    """Returns a bias of the graph in steps of that of the file, float64."""
    scales = bias.scales.astype(np.float64)
    stored = np.asarray(bias.data, np.float64)
    for rows, value in _biases(graph):
        if rows.shape[0] != stored.size or not _holds(op, rows):
            continue
        steps = np.broadcast_to(value.astype(np.float64), stored.shape) / scales
        off = np.abs(np.clip(steps, -_CUT, _CUT) - stored)
        if (off <= 1 + _FLOAT_ROUNDING * np.abs(stored)).all():
            return np.asarray(steps)
    raise RuntimeError(
        f"the bias of {op.outputs[0].name!r} does not fit into the 32 bits that the "
        "converter gives it, and nothing in the graph says what it was. Exclude the "
        "layer from the recipe, or take another format than a16w8; please report this."
    )


def _coarsened(
    file: ModelFile, op: Op, weights: Tensor, bias: Tensor, steps: np.ndarray
) -> np.ndarray:
    """Returns a bias that LiteRT can add, int64; gives channels the scale it needs."""
    large = np.abs(steps) > LARGEST
    factor = np.where(large, np.abs(steps) / _FITS_EASILY, 1.0)
    if large.any():
        axis = CHANNEL_AXIS.get(op.name, 0)
        shape = [-1 if i == axis else 1 for i in range(len(weights.shape))]
        file.own_buffer(weights)
        weights.data[...] = np.rint(weights.data / factor.reshape(shape))
        file.set_scales(weights, weights.scales * factor)
        file.set_scales(bias, bias.scales * factor)
    return np.rint(steps / factor).astype(np.int64)


def _biases(graph: Graph) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields the weights (outputs, weights per output) and the bias of every layer."""
    for node in graph.nodes.values():
        if node.op != "BiasAdd" or not graph.is_constant(node.input[1]):
            continue
        head = _head(graph, node)
        constant = len(head.input) > 1 and graph.is_constant(head.input[1])
        if constant and multiplies(graph, head):
            rows = rows_of(head, graph.value(head.input[1]))
            yield rows, graph.value(node.input[1])


def _head(graph: Graph, node: Node) -> Node:
    head = graph.nodes[node_name(node.input[0])]
    while head.op in RESHAPES or head.op == "BatchToSpaceND":
        head = graph.nodes[node_name(head.input[0])]
    return head


def _holds(op: Op, rows: np.ndarray) -> bool:
    """Whether the weights of an op are these, rounded."""
    weights = op.inputs[1]
    if weights is None or weights.data.size != rows.size:
        return False
    axis = CHANNEL_AXIS.get(op.name, 0)
    stored = np.moveaxis(weights.data, axis, 0).reshape(rows.shape).astype(np.int32)
    step = weights.scales.reshape(-1, 1).astype(np.float64)
    return bool((np.abs(stored * step - rows) <= _ROUNDING * step).all())
