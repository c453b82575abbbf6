"""What is in a .tflite, .qsp or .keras file, layer by layer, without running it."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from qsparse.tflite_export.detect import detect_pattern
from qsparse.tflite_export.flatbuffer import ModelFile, Op, Tensor
from qsparse.tflite_export.keras_file import read_keras_file
from qsparse.tflite_export.layer_info import LayerInfo
from qsparse.tflite_export.runtime import read_plan


@dataclass(frozen=True)
class Inspection:
    """What was found in a file.

    Attributes:
        path: the file.
        kind: "tflite", packed or not, or "keras".
        size_bytes: its size.
        layers: one entry per layer with weights.
        metadata: the `qsparse` entry of a .tflite, the recipe of a .keras; or None.
        unfinished: what the model of a .keras lacks of what its recipe asks for; None
            if it lacks nothing.
    """

    path: str
    kind: str
    size_bytes: int
    layers: list[LayerInfo]
    metadata: dict[str, Any] | None
    unfinished: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as JSON-ready values."""
        return asdict(self)


def inspect_file(path: str | os.PathLike) -> Inspection:
    """Reads a file; executes nothing that is in it.

    Args:
        path: a .tflite, .qsp or .keras file.

    Raises:
        ValueError: another kind of file, or a damaged one.
        FileNotFoundError: no such file, or the delegate is missing.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    if path.suffix in (".tflite", ".qsp"):
        return _inspect_tflite(path)
    if path.suffix == ".keras":
        file = read_keras_file(path)
        return Inspection(
            str(path),
            "keras",
            path.stat().st_size,
            file.layers,
            file.recipe,
            unfinished=file.unfinished,
        )
    raise ValueError(f"{path} is neither a .tflite nor a .qsp nor a .keras file.")


def _inspect_tflite(path: Path) -> Inspection:
    file = ModelFile(path)
    plan = {entry["node"]: entry for entry in read_plan(path)}
    metadata = file.metadata()
    names = {
        str(entry["tensor"]): str(entry["path"])
        for entry in (metadata or {}).get("layers", [])
    }
    layers = [
        _describe(op, weights, names, plan.get(op.index, {}))
        for op in file.ops
        if (weights := op.weights) is not None
    ]
    return Inspection(str(path), "tflite", path.stat().st_size, layers, metadata)


def _describe(
    op: Op, weights: Tensor, names: dict[str, str], decision: dict[str, Any]
) -> LayerInfo:
    shape = weights.shape
    kept = np.asarray(weights.data != 0)
    if op.name == "DEPTHWISE_CONV_2D":
        kept = kept.reshape(-1, shape[-1]).T[:, :, None]
    else:
        kept = kept.reshape(shape[0], -1, shape[-1])
    claimed = bool(decision.get("claimed"))
    kernel = f"{decision['kernel']} ({decision['isa']})" if claimed else "XNNPACK"
    reason = decision.get("reason") or "not an op our delegate takes"
    if claimed:
        reason = f"{reason} {decision['predicted_gain']:.1f}x"
    return LayerInfo(
        names.get(weights.name) or _layer_of(weights.name),
        op.name,
        shape,
        op.macs,
        detect_pattern(kept),
        float(1 - kept.mean()),
        op.is_int8,
        kernel,
        reason,
    )


def _layer_of(tensor: str) -> str:
    """Returns the layer part of a tensor name such as `frozen/model/conv/MatMul`."""
    return tensor.split(";")[0].removeprefix("frozen/").rpartition("/")[0] or tensor
