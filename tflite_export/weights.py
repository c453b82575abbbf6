"""Makes a file hold exactly the weights training left in the model.

The converter finds the scale of each output channel anew, as max|w| / 127. Where
the trained grid is coarser (a mask removed the largest weight after its scale was
set), it would round every weight again; and a BatchNormalization folded into the
weights changes the scale of a channel and perhaps its sign. Neither may move a
weight off the grid it was trained on.
"""

from dataclasses import dataclass

import numpy as np

from qsparse.tflite_export.flatbuffer import ModelFile
from qsparse.tflite_export.model_parts import CHANNEL_AXIS, Op, Tensor

_ROUNDING = 0.51  # half a step, and what float32 adds to it
_FLOAT_ROUNDING = 1e-5  # of the largest weight of a channel, folded in float32


@dataclass(frozen=True)
class TrainedWeights:
    """What training fixed for one layer.

    Attributes:
        path: path of the layer.
        values: (outputs, ...) in LiteRT layout; depthwise (1, kh, kw, outputs). int8,
            or float32 for a file with float weights.
        mask: bool, True where kept, in the layout of `values`; or None.
        pattern: text form of the pattern; None if the layer is not pruned.
    """

    path: str
    values: np.ndarray
    mask: np.ndarray | None = None
    pattern: str | None = None

    def by_channel(self) -> np.ndarray:
        """Returns integer weights as int32 of shape (outputs, weights per output)."""
        depthwise = self.values.ndim == 4 and self.values.shape[0] == 1
        return _channels(self.values, "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D")


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

    def to_dict(self) -> dict:
        """Returns the fields as JSON-ready values."""
        return vars(self) | {"sparsity": None if self.tensor is None else self.sparsity}


def restore(
    file: ModelFile, layers: list[TrainedWeights], float_too: bool = False
) -> list[LayerMatch]:
    """Finds every layer in the file and writes its trained integers.

    Args:
        file: the converted file; edited in place.
        layers: what training fixed.
        float_too: whether a layer may lie in the file in float, or with float
            activations. Otherwise only what computes in int8 is looked at.

    Returns:
        One match per layer, in order.

    Raises:
        RuntimeError: the file holds a nonzero weight where the mask has a zero.
    """
    candidates = file.layers() if float_too else file.int8_layers()
    matches = []
    for layer in layers:
        masked = 0.0 if layer.mask is None else float(1 - layer.mask.mean())
        # A layer that is called twice may stand in the file twice.
        found = [
            (op, weights, signs)
            for op, weights in candidates
            if (signs := _match(op, weights, layer)) is not None
        ]
        if not found:
            matches.append(
                LayerMatch(
                    layer.path,
                    None,
                    None,
                    layer.pattern,
                    layer.values.size,
                    float("nan"),
                    masked,
                )
            )
            continue
        regridded = [
            _write(file, *place, layer.values)
            for place in found
            if place[1].dtype == np.int8
        ]
        _, weights, signs = found[0]
        stored = weights.data.reshape(layer.values.shape)
        lost = 0 if layer.mask is None else np.count_nonzero(stored[~layer.mask])
        if lost:
            raise RuntimeError(
                f"layer {layer.path!r}: {lost} pruned weights are not zero in the "
                "file. Please report this."
            )
        matches.append(
            LayerMatch(
                layer.path,
                weights.name,
                weights.dtype.name,
                layer.pattern,
                layer.values.size,
                float(np.mean(stored == 0)),
                masked,
                int(np.count_nonzero(signs < 0)),
                max(regridded, default=0),
            )
        )
    return matches


def _channels(values: np.ndarray, op_name: str) -> np.ndarray:
    """Returns a copy of shape (outputs, weights per output), int32 or float32."""
    axis = CHANNEL_AXIS[op_name] if values.ndim == 4 else 0
    rows = np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)
    return rows.astype(np.int32 if values.dtype == np.int8 else np.float32)


def _match(op: Op, weights: Tensor, layer: TrainedWeights) -> np.ndarray | None:
    """Returns the sign of each channel if these are the layer's weights."""
    if weights.data.size != layer.values.size:
        return None
    trained = _channels(layer.values, op.name)
    stored = _channels(weights.data, op.name)
    if trained.shape != stored.shape:
        return None
    if weights.dtype == np.int8:
        return None if layer.values.dtype != np.int8 else _signs(trained, stored)
    return _float_signs(trained, stored)


def _float_signs(trained: np.ndarray, stored: np.ndarray) -> np.ndarray | None:
    """As `_signs`, for channels that are any multiple of the trained ones."""
    norm = np.maximum((trained * trained).sum(axis=1, keepdims=True), 1e-30)
    factor = (stored * trained).sum(axis=1, keepdims=True) / norm
    tolerance = _FLOAT_ROUNDING * np.abs(stored).max(axis=1, keepdims=True)
    if (np.abs(stored - factor * trained) > tolerance).any() or not factor.any():
        return None
    return np.sign(factor[:, 0]).astype(int)


def _signs(trained: np.ndarray, stored: np.ndarray) -> np.ndarray | None:
    """Returns +1, -1 or 0 (the channel vanished) per channel; None if it differs.

    The stored integers may be `round(trained * 127 / max|trained|)`: the grid the
    converter finds when the largest weight of a channel was pruned.
    """
    largest = np.maximum(np.abs(trained).max(axis=1, keepdims=True), 1)
    expected = trained * (127 / largest)
    plus = (np.abs(stored - expected) <= _ROUNDING).all(axis=1)
    minus = (np.abs(stored + expected) <= _ROUNDING).all(axis=1)
    gone = (stored == 0).all(axis=1)
    if not (plus | minus | gone).all() or not (plus | minus).any():
        return None
    return np.where(plus, 1, np.where(minus, -1, 0))


def _write(
    file: ModelFile, op: Op, weights: Tensor, signs: np.ndarray, values: np.ndarray
) -> int:
    """Puts the channels that were rescaled back on the trained grid.

    Returns:
        The number of channels rewritten.
    """
    trained = _channels(values, op.name)
    stored = _channels(weights.data, op.name)
    wanted = trained * signs[:, None]
    wrong = (stored != wanted).any(axis=1)
    if not wrong.any():
        return 0
    factor = np.ones(len(wrong))
    factor[wrong] = 127 / np.abs(trained[wrong]).max(axis=1)
    axis = CHANNEL_AXIS[op.name]
    layout = np.moveaxis(weights.data, axis, 0).shape
    file.own_buffer(weights)
    weights.data[...] = np.moveaxis(wanted.reshape(layout), 0, axis)
    file.set_scales(weights, weights.scales * factor)
    for bias in _biases(file, weights):
        file.own_buffer(bias)
        file.set_scales(bias, bias.scales * factor)
        bias.data[...] = np.rint(bias.data / factor).astype(np.int32)
    return int(np.count_nonzero(wrong))


def _biases(file: ModelFile, weights: Tensor) -> list[Tensor]:
    """Returns the integer bias of every op that uses these weights, each once."""
    found: dict[int, Tensor] = {}
    for op in file.ops:
        uses = op.weights is not None and op.weights.index == weights.index
        bias = op.inputs[2] if uses and len(op.inputs) > 2 else None
        if bias is not None and bias.dtype == np.int32:
            found[bias.index] = bias
    return list(found.values())
