"""Makes a file hold exactly the weights training left in the model.

The converter finds the scale of each output channel anew, as max|w| / 127. Where
the trained grid is coarser (a mask removed the largest weight after its scale was
set), it would round every weight again; where a channel is small, it takes a scale of
its own choice; and a BatchNormalization folded into the weights changes the scale of a
channel and perhaps its sign. None of this may move a weight off the grid it was
trained on.

The graph a file is made of knows which of its constants are the weights of which layer
(`Graph.kernels`), so nothing is guessed: a layer that no live node reads is not used,
and the others are found in the file by the name of that node, and hold the very values
the graph ended with.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import keras
import numpy as np

from qsparse.engine.compressor import compressed_layers
from qsparse.planning.plan import LayerPlan
from qsparse.tflite_export.files.model_file import ModelFile
from qsparse.tflite_export.files.model_parts import CHANNEL_AXIS, Op, Tensor
from qsparse.tflite_export.graph.graph import Graph
from qsparse.tflite_export.graph.ops import LOOPS
from qsparse.tflite_export.graph.weighted import multiplies, rows_of
from qsparse.tflite_export.parity.wide_biases import LARGEST

_ROUNDING = 0.51  # half a step, and what float32 adds to it
_FLOAT_ROUNDING = 1e-5  # of the largest weight of a channel, folded in float32
_LARGEST_BIAS = {np.dtype(np.int32): 2**31 - 1, np.dtype(np.int64): LARGEST}

FOUND, IN_FLOAT = "found", "in float"
UNUSED, FOLDED, IN_LOOP = "unused", "folded", "in a loop"
CHANGED, LOST = "changed", "lost"


@dataclass(frozen=True)
class TrainedLayer:
    """A compressed layer: its plan, and what training made of it.

    Attributes:
        plan: the plan.
        weights: number of weights.
        masked: share of them the mask removed, 0 to 1.
    """

    plan: LayerPlan
    weights: int
    masked: float

    @property
    def path(self) -> str:
        """Path of the layer."""
        return self.plan.path

    @property
    def pattern(self) -> str | None:
        """Text form of the pattern; None if the layer is not pruned."""
        return None if self.plan.pattern is None else str(self.plan.pattern)


@dataclass(frozen=True)
class Place:
    """A node of a graph that multiplies with the weights of a layer.

    Attributes:
        node: its name.
        rows: the weights it ended with, (outputs, weights per output), float32.
        integers: what training made of them, int32, of the same shape; or None.
        mask: bool, of the same shape; or None.
    """

    node: str
    rows: np.ndarray
    integers: np.ndarray | None
    mask: np.ndarray | None

    def signed(self) -> np.ndarray:
        """Returns the integers with the sign each channel has now, int32.

        A channel that a factor of zero made vanish is zero.
        """
        if self.integers is None:
            raise ValueError(f"the weights of {self.node!r} are on no grid.")
        signs = np.sign((self.rows * self.integers).sum(axis=1, dtype=np.float64))
        return self.integers * signs.astype(np.int32)[:, None]

    def steps(self) -> np.ndarray:
        """Returns the scale of each channel's integers, float64; 0 for zeros only."""
        largest = np.abs(self.signed()).max(axis=1)
        return np.abs(self.rows).max(axis=1) / np.maximum(largest, 1.0)


@dataclass(frozen=True)
class LayerMatch:
    """How one trained layer stands in the file.

    Attributes:
        path: path of the layer.
        tensor: name of the weight tensor; None if the file has no such weights.
        dtype: how the file holds them: "int8", "int4" or "float32"; None without a
            tensor.
        pattern: text form of the pattern; None if the layer is not pruned.
        weights: number of weights.
        sparsity: share of zero weights in the file; NaN without a tensor.
        masked: share of weights the mask removed.
        flipped: channels whose sign a folded BatchNormalization turned.
        regridded: channels put back on the trained grid.
        coarse: channels so small beside their bias that its integer could not hold it
            on the trained grid; they lie on a coarser one.
        vanished: channels that a factor of zero, folded into them, made zero.
        state: "found"; "in float" if a file of integers computes the layer in float;
            "unused" if the model does not use the layer when it predicts; "folded" if
            all it computes is a constant; "in a loop" if a loop uses it; "changed" if
            the model computes with other weights, made of those of the layer; "lost"
            if the file has no such weights.
    """

    path: str
    tensor: str | None
    dtype: str | None
    pattern: str | None
    weights: int
    sparsity: float
    masked: float
    flipped: int = 0
    regridded: int = 0
    coarse: int = 0
    vanished: int = 0
    state: str = FOUND

    def to_dict(self) -> dict:
        """Returns the fields as JSON-ready values."""
        return vars(self) | {"sparsity": None if self.tensor is None else self.sparsity}


def trained_layers(model: keras.Model) -> list[TrainedLayer]:
    """Returns the compressed layers of a model, depth first."""
    found = []
    for layer in compressed_layers(model):
        mask = layer.canonical_mask()
        found.append(
            TrainedLayer(
                layer.plan,
                int(np.prod(layer.layout.shape)),
                0.0 if mask is None else float(1 - mask.mean()),
            )
        )
    return found


def find_places(graph: Graph) -> dict[str, list[Place]]:
    """Returns path of a layer -> the nodes that multiply with its weights.

    Args:
        graph: a frozen graph, as it is given to the converter.
    """
    places: dict[str, list[Place]] = {}
    for node in graph.nodes.values():
        kernel = graph.kernels.get(node.input[1]) if len(node.input) > 1 else None
        if kernel is None or not multiplies(graph, node):
            continue
        rows = rows_of(node, graph.value(node.input[1]))
        integers, mask = (
            None if part is None else rows_of(node, part)
            for part in (kernel.integers, kernel.mask)
        )
        if integers is not None:
            integers = integers.astype(np.int32)
        places.setdefault(kernel.path, []).append(
            Place(node.name, rows, integers, mask)
        )
    return places


def restore(
    file: ModelFile, graph: Graph, layers: list[TrainedLayer], in_integers: bool = True
) -> list[LayerMatch]:
    """Finds every layer in the file and writes its trained integers.

    Args:
        file: the converted file; edited in place.
        graph: the graph it was converted from.
        layers: the compressed layers of the model.
        in_integers: whether the activations of the file are integers.

    Returns:
        One match per layer, in order.

    Raises:
        RuntimeError: the file holds a nonzero weight where the mask has a zero.
    """
    places = find_places(graph)
    return [
        _restore(file, layer, found, in_integers)
        if (found := places.get(layer.path))
        else _absent(layer, _why_absent(graph, layer.path))
        for layer in layers
    ]


def _restore(
    file: ModelFile, layer: TrainedLayer, places: list[Place], in_integers: bool
) -> LayerMatch:
    # A layer that is called twice may stand in the file twice.
    found = [(place, op, w) for place in places for op, w in _stored(file, place)]
    if not found:
        return _absent(layer, LOST)
    changes = [_write(file, *entry) for entry in found]
    for place, op, weights in found:
        stored = channels(op, weights)
        lost = 0 if place.mask is None else np.count_nonzero(stored[~place.mask])
        if lost:
            raise RuntimeError(
                f"layer {layer.path!r}: {lost} pruned weights are not zero in the "
                "file. Please report this."
            )
    place, op, weights = found[0]
    flipped = vanished = 0
    if place.integers is not None:
        signed = place.signed()
        flipped = int(((signed == -place.integers) & (signed != 0)).any(axis=1).sum())
        gone = (signed == 0) & (place.integers != 0)
        vanished = int(gone.any(axis=1).sum())
    stays = not in_integers or all(op.is_integer for _, op, _ in found)
    return LayerMatch(
        layer.path,
        weights.name,
        weights.dtype.name,
        layer.pattern,
        layer.weights,
        float(np.mean(weights.data == 0)),
        layer.masked,
        flipped,
        max(regridded for regridded, _ in changes),
        max(coarse for _, coarse in changes),
        vanished,
        FOUND if stays else IN_FLOAT,
    )


def _absent(layer: TrainedLayer, state: str) -> LayerMatch:
    return LayerMatch(
        layer.path,
        None,
        None,
        layer.pattern,
        layer.weights,
        float("nan"),
        layer.masked,
        state=state,
    )


def _why_absent(graph: Graph, path: str) -> str:
    """Returns the state of a layer that no node multiplies with."""
    own = {name for name, kernel in graph.kernels.items() if kernel.path == path}
    blended = {name for name, paths in graph.blended.items() if path in paths}
    if not own | blended:
        return UNUSED
    readers = [
        node for node in graph.nodes.values() if (own | blended) & set(node.input)
    ]
    if any(node.op in LOOPS for node in readers):
        return IN_LOOP
    weighs = any(
        len(node.input) > 1 and node.input[1] in blended and multiplies(graph, node)
        for node in readers
    )
    return CHANGED if own or weighs else FOLDED


def channels(op: Op, weights: Tensor) -> np.ndarray:
    """Returns weights of a file as (outputs, weights per output), int32 or float32."""
    axis = CHANNEL_AXIS[op.name]
    rows = np.moveaxis(weights.data, axis, 0).reshape(weights.shape[axis], -1)
    return rows.astype(np.int32 if weights.dtype == np.int8 else np.float32)


def _stored(file: ModelFile, place: Place) -> Iterator[tuple[Op, Tensor]]:
    """Returns the ops that have the weights of a node, those of integers if any."""
    layers = list(file.layers())
    named = [entry for entry in layers if _is_named_after(*entry, place.node)]
    # The converter may name an op after what it fused with it.
    found = [e for e in named if _holds(*e, place)] or [
        entry for entry in layers if _holds(*entry, place)
    ]
    in_integers = [(op, w) for op, w in found if op.is_integer]
    return iter(in_integers or found)


def _is_named_after(op: Op, weights: Tensor, node: str) -> bool:
    names = f"{weights.name};{op.outputs[0].name}".split(";")
    return any(name.removeprefix("frozen/") == node for name in names)


def _holds(op: Op, weights: Tensor, place: Place) -> bool:
    """Whether these are the weights of a node, rounded if they are int8."""
    if weights.data.size != place.rows.size:
        return False
    stored = channels(op, weights)
    if stored.shape != place.rows.shape:
        return False
    if weights.dtype == np.int8:
        step = weights.scales.reshape(-1, 1).astype(np.float64)
        return bool((np.abs(stored * step - place.rows) <= _ROUNDING * step).all())
    largest = np.abs(place.rows).max(axis=1, keepdims=True)
    return bool((np.abs(stored - place.rows) <= _FLOAT_ROUNDING * largest).all())


def _write(file: ModelFile, place: Place, op: Op, weights: Tensor) -> tuple[int, int]:
    """Puts the channels that were rescaled back on the trained grid.

    Returns:
        How many channels were rewritten, and how many lie on a coarser grid.
    """
    if place.integers is None or weights.dtype != np.int8:
        return 0, 0
    wanted, stored = place.signed(), channels(op, weights)
    wrong = (stored != wanted).any(axis=1)
    factor = np.ones(len(wrong))
    factor[wrong] = place.steps()[wrong] / weights.scales[wrong]
    biases = _biases(file, weights)
    coarse = overflowing(biases, factor) & wrong
    wrong &= ~coarse
    factor[coarse] = 1
    if wrong.any():
        wanted = np.where(wrong[:, None], wanted, stored)
        axis = CHANNEL_AXIS[op.name]
        layout = np.moveaxis(weights.data, axis, 0).shape
        file.own_buffer(weights)
        weights.data[...] = np.moveaxis(wanted.reshape(layout), 0, axis)
        file.set_scales(weights, weights.scales * factor)
        for bias in biases:
            file.own_buffer(bias)
            file.set_scales(bias, bias.scales * factor)
            bias.data[...] = np.rint(bias.data / factor).astype(bias.dtype)
    return int(np.count_nonzero(wrong)), int(np.count_nonzero(coarse))


def overflowing(biases: list[Tensor], factor: np.ndarray) -> np.ndarray:
    """Returns which channels have a bias that does not fit on another scale.

    Args:
        biases: biases of one layer, int32 or int64.
        factor: the other scale of each channel, as a multiple of its scale.
    """
    return np.any(
        [np.abs(bias.data / factor) > _LARGEST_BIAS[bias.dtype] for bias in biases]
        or [np.zeros(len(factor), bool)],
        axis=0,
    )


def _biases(file: ModelFile, weights: Tensor) -> list[Tensor]:
    """Returns the integer bias of every op that uses these weights, each once."""
    found: dict[int, Tensor] = {}
    for op in file.ops:
        uses = op.weights is not None and op.weights.index == weights.index
        bias = op.inputs[2] if uses and len(op.inputs) > 2 else None
        if bias is not None and bias.dtype in _LARGEST_BIAS:
            found[bias.index] = bias
    return list(found.values())
