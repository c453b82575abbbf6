"""Whether a file holds the weights of its model: every zero, every integer."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from qsparse.tflite_export.files.model_file import ModelFile
from qsparse.tflite_export.files.model_parts import Op, Tensor
from qsparse.tflite_export.graph.weighted import by_channel
from qsparse.tflite_export.parity.identity import paired
from qsparse.tflite_export.parity.pairing import Pair, refuse
from qsparse.tflite_export.parity.trained import (
    FOUND,
    LOST,
    Place,
    TrainedLayer,
    channels,
    find_places,
    overflowing,
)

# Beyond this many other integers per nonzero one, in most layers, the model is another.
_OTHER_MODEL = 0.5
_MOVES = {"RESHAPE", "TRANSPOSE", "SQUEEZE", "EXPAND_DIMS", "BATCH_TO_SPACE_ND"}


@dataclass(frozen=True)
class LayerWeights:
    """The weights of one layer, in the model and in the file.

    Attributes:
        layer: path of the layer.
        tensor: name of the weights in the file; None if it has no such weights.
        pattern: text form of the pattern; None if the layer is not pruned.
        weights: how many.
        zeros: how many the file stores as zero.
        masked: how many the mask of the model removed.
        lost_zeros: how many of those are not zero in the file.
        changed: how many integers are not those of the model.
        compressed: whether training fixed the integers; otherwise they were rounded
            when the file was made.
        state: see `qsparse.tflite_export.parity.trained.LayerMatch`.
    """

    layer: str
    tensor: str | None
    pattern: str | None
    weights: int
    zeros: int
    masked: int
    lost_zeros: int
    changed: int
    compressed: bool
    state: str = FOUND

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as JSON-ready values."""
        return asdict(self)


def compare_weights(pair: Pair) -> list[LayerWeights]:
    """Compares every layer with weights.

    Raises:
        ValueError: the weights are those of another model.
    """
    rows = _compressed(pair)
    seen = {row.tensor for row in rows}
    rows += [row for row in _others(pair) if row.tensor not in seen]
    found = [row for row in rows if row.tensor is not None]
    other = [
        row for row in found if row.changed > _OTHER_MODEL * (row.weights - row.zeros)
    ]
    if len(other) > len(found) / 2:
        raise refuse(
            pair.file,
            f"{len(other)} of {len(found)} layers have other weights, e.g. "
            f"{other[0].layer!r}; perhaps the model was trained on after the export",
        )
    return rows


def _compressed(pair: Pair) -> list[LayerWeights]:
    """Compares the compressed layers with the tensors the file names for them."""
    recorded = (pair.file.metadata() or {"layers": []})["layers"]
    entries = paired(
        [layer.path for layer in pair.trained],
        [(str(entry["path"]), entry) for entry in recorded],
    )
    if entries is None:
        raise refuse(
            pair.file,
            f"the model has {len(pair.trained)} compressed layers, the file "
            f"{len(recorded)}",
        )
    places = find_places(pair.graph)
    weights = {w.name: (op, w) for op, w in pair.file.layers()}
    rows = []
    for layer, entry in zip(pair.trained, entries, strict=True):
        found = weights.get(str(entry["tensor"]))
        place = next(iter(places.get(layer.path, [])), None)
        if found is None or place is None:
            state = _state(pair.file, layer, entry)
            rows.append(_absent(layer, state))
        else:
            rows.append(_against_training(pair.file, layer, place, *found))
    return rows


def _state(file: ModelFile, layer: TrainedLayer, entry: dict[str, Any]) -> str:
    """Returns why a file says it has no weights of a layer."""
    if "state" not in entry:
        raise ValueError(
            f"{file.name} does not say how layer {layer.path!r} stands in it: it was "
            "written by an older version. Export the model again."
        )
    state = str(entry["state"])
    return state if entry["tensor"] is None else LOST


def _absent(layer: TrainedLayer, state: str) -> LayerWeights:
    masked = round(layer.masked * layer.weights)
    return LayerWeights(
        layer.path, None, layer.pattern, layer.weights, 0, masked, 0, 0, True, state
    )


def _against_training(
    file: ModelFile, layer: TrainedLayer, place: Place, op: Op, stored: Tensor
) -> LayerWeights:
    values = channels(op, stored)
    if values.size != layer.weights:
        raise refuse(
            file,
            f"layer {layer.path!r} has {layer.weights} weights in the model and "
            f"{values.size} in the file",
        )
    in_float = stored.dtype != np.int8
    if in_float and len(values) == len(place.rows):  # what they are multiples of
        step = np.where(place.steps() > 0, place.steps(), 1.0)[:, None]
        values = np.rint(values / step).astype(np.int32)
    wanted = place.signed()
    if wanted.shape != values.shape:
        raise refuse(
            file,
            f"layer {layer.path!r} has {len(wanted)} output channels in the model and "
            f"{len(values)} in the file",
        )
    masked = round(layer.masked * layer.weights)
    lost = 0 if place.mask is None else int(np.count_nonzero(values[~place.mask]))
    differing = np.count_nonzero(wanted != values, axis=1)
    if not in_float:
        differing[_is_coarse(place, op, stored)] = 0
    return LayerWeights(
        layer.path,
        stored.name,
        layer.pattern,
        layer.weights,
        int(np.count_nonzero(values == 0)),
        masked,
        lost,
        int(differing.sum()),
        True,
    )


def _is_coarse(place: Place, op: Op, stored: Tensor) -> np.ndarray:
    """Returns the channels that lie on a coarser grid, as their bias asks for."""
    biases = [bias for bias in op.inputs[2:] if bias is not None]
    scales = stored.scales.astype(np.float64)
    step = np.where(place.steps() > 0, place.steps(), scales)
    return overflowing(biases, step / scales) if biases else np.zeros(len(step), bool)


def _others(pair: Pair) -> list[LayerWeights]:
    """Compares weights with those of the graph, which BatchNormalization is in."""
    producers = {out.index: op for op in pair.file.ops for out in op.outputs}
    rows = []
    for name, region in pair.regions.items():
        if region.head is None:
            continue
        op = producers.get(pair.stored[name].index)
        while op is not None and op.name in _MOVES and op.inputs[0] is not None:
            op = producers.get(op.inputs[0].index)
        if op is None or op.weights is None or op.weights.dtype != np.int8:
            continue
        stored = channels(op, op.weights)
        wanted = by_channel(region.head, pair.graph.value(region.head.input[1]))
        if wanted.shape != stored.shape or op.weights.scales.size not in (
            1,
            len(stored),
        ):
            continue
        steps = np.rint(wanted / op.weights.scales.reshape(-1, 1)).astype(np.int64)
        rows.append(
            LayerWeights(
                region.layer or region.head.name,
                op.weights.name,
                None,
                stored.size,
                int(np.count_nonzero(stored == 0)),
                0,
                0,
                int(np.count_nonzero(steps != stored)),
                False,
            )
        )
    return rows
