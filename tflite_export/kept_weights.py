"""Whether a file holds the weights of its model: every zero, every integer."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from qsparse.tflite_export.flatbuffer import ModelFile
from qsparse.tflite_export.model_parts import CHANNEL_AXIS, Op, Tensor
from qsparse.tflite_export.pairing import Pair, refuse
from qsparse.tflite_export.simplify import by_channel
from qsparse.tflite_export.weights import TrainedWeights

# Beyond this many other integers per nonzero one, in most layers, the model is another.
_OTHER_MODEL = 0.5
_MOVES = {"RESHAPE", "TRANSPOSE", "SQUEEZE", "EXPAND_DIMS", "BATCH_TO_SPACE_ND"}


@dataclass(frozen=True)
class LayerWeights:
    """The weights of one layer, in the model and in the file.

    Attributes:
        layer: path of the layer.
        tensor: name of the weights in the file; None if it has no such int8 weights.
        pattern: text form of the pattern; None if the layer is not pruned.
        weights: how many.
        zeros: how many the file stores as zero.
        masked: how many the mask of the model removed.
        lost_zeros: how many of those are not zero in the file.
        changed: how many integers are not those of the model.
        compressed: whether training fixed the integers; otherwise they were rounded
            when the file was made.
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
    if len(recorded) != len(pair.trained):
        raise refuse(
            pair.file,
            f"the model has {len(pair.trained)} compressed layers, the file "
            f"{len(recorded)}",
        )
    weights = {w.name: (op, w) for op, w in pair.file.int8_layers()}
    rows = []
    for layer, entry in zip(pair.trained, recorded, strict=True):
        op, stored = weights.get(str(entry["tensor"]), (None, None))
        rows.append(_against_training(pair.file, layer, op, stored))
    return rows


def _against_training(
    file: ModelFile, layer: TrainedWeights, op: Op | None, stored: Tensor | None
) -> LayerWeights:
    size = layer.values.size
    masked = 0 if layer.mask is None else size - int(np.count_nonzero(layer.mask))
    if op is None or stored is None:
        return LayerWeights(
            layer.path, None, layer.pattern, size, 0, masked, 0, 0, True
        )
    if stored.data.size != size:
        raise refuse(
            file,
            f"layer {layer.path!r} has {size} weights in the model and "
            f"{stored.data.size} in the file",
        )
    values = stored.data.reshape(layer.values.shape)
    lost = 0 if layer.mask is None else int(np.count_nonzero(values[~layer.mask]))
    # A BatchNormalization folded in may have turned the sign of a channel.
    changed = _differing(layer.by_channel(), _rows(op, stored), signed=False)
    zeros = int(np.count_nonzero(values == 0))
    return LayerWeights(
        layer.path, stored.name, layer.pattern, size, zeros, masked, lost, changed, True
    )


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
        stored = _rows(op, op.weights)
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
                _differing(steps, stored, signed=True),
                False,
            )
        )
    return rows


def _rows(op: Op, weights: Tensor) -> np.ndarray:
    """Returns the weights of an op as (outputs, weights per output), int32."""
    values = np.moveaxis(weights.data, CHANNEL_AXIS[op.name], 0)
    return values.reshape(len(values), -1).astype(np.int32)


def _differing(wanted: np.ndarray, stored: np.ndarray, *, signed: bool) -> int:
    """Returns how many integers differ; unsigned, a whole row may be negated.

    A row that is all zero has vanished under a factor of zero, if unsigned.
    """
    by_row = np.count_nonzero(wanted != stored, axis=1)
    if not signed:
        by_row = np.minimum(by_row, np.count_nonzero(wanted != -stored, axis=1))
        by_row[(stored == 0).all(axis=1)] = 0
    return int(by_row.sum())
