"""What is in a .tflite or .keras file, layer by layer, without running it."""

import io
import json
import os
import re
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from qsparse.tflite_export.detect import detect_pattern
from qsparse.tflite_export.flatbuffer import ModelFile, Op, Tensor
from qsparse.tflite_export.runtime import read_plan

_WEIGHTS = "model.weights.h5"


@dataclass(frozen=True)
class LayerInfo:
    """One layer with weights.

    Attributes:
        layer: its path in the model, or the name of its weights.
        op: LiteRT op; None in a .keras file.
        shape: shape of the weights.
        macs: multiply-accumulates of one inference; None in a .keras file.
        pattern: see `detect_pattern`.
        sparsity: share of zero weights.
        int8: whether it computes (.keras: trains) in int8.
        kernel: what runs it; None in a .keras file.
        reason: why that kernel.
    """

    layer: str
    op: str | None
    shape: tuple[int, ...]
    macs: int | None
    pattern: str
    sparsity: float
    int8: bool
    kernel: str | None = None
    reason: str = ""


@dataclass(frozen=True)
class Inspection:
    """What was found in a file.

    Attributes:
        path: the file.
        kind: "tflite" or "keras".
        size_bytes: its size.
        layers: one entry per layer with weights.
        metadata: the `qsparse` entry of a .tflite, the recipe of a .keras; or None.
    """

    path: str
    kind: str
    size_bytes: int
    layers: list[LayerInfo]
    metadata: dict[str, Any] | None

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as JSON-ready values."""
        return asdict(self)


def inspect_file(path: str | os.PathLike) -> Inspection:
    """Reads a file; executes nothing that is in it.

    Args:
        path: a .tflite or .keras file.

    Raises:
        ValueError: another kind of file, or a damaged one.
        FileNotFoundError: no such file, or the delegate is missing.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    if path.suffix == ".tflite":
        return _inspect_tflite(path)
    if path.suffix == ".keras":
        return _inspect_keras(path)
    raise ValueError(f"{path} is neither a .tflite nor a .keras file.")


def _inspect_tflite(path: Path) -> Inspection:
    file = ModelFile(path)
    plan = {entry["node"]: entry for entry in read_plan(path)}
    metadata = file.metadata()
    names = {
        entry["tensor"]: entry["path"] for entry in (metadata or {}).get("layers", [])
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


def _inspect_keras(path: Path) -> Inspection:
    try:
        with zipfile.ZipFile(path) as archive:
            weights = archive.read(_WEIGHTS)
            names = _layer_names(json.loads(archive.read("config.json")))
        with h5py.File(io.BytesIO(weights), "r") as file:
            layers, recipe = _read_weights(file, names)
    except (zipfile.BadZipFile, LookupError, OSError, ValueError) as error:
        raise ValueError(
            f"{path} is damaged, or no model saved by Keras 3: {error}"
        ) from error
    return Inspection(str(path), "keras", path.stat().st_size, layers, recipe)


def _layer_names(model: dict[str, Any], group: str = "", path: str = "") -> dict:
    """Returns group in the weights file -> path of the layer, by name.

    Keras names groups by class and a count, in the order of the layers. The layers of
    a subclassed model are not in its configuration and keep the names of the groups.
    """
    names: dict[str, str] = {}
    counts: dict[str, int] = {}
    config = model.get("config") or {}
    for layer in config.get("layers", []):
        kind = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", layer["class_name"])
        kind = re.sub("([a-z])([A-Z])", r"\1_\2", kind).lower()
        count = counts[kind] = counts.get(kind, -1) + 1
        place = f"{group}layers/{kind}" + (f"_{count}" if count else "")
        names[place] = path + layer["config"]["name"]
        names |= _layer_names(layer, f"{place}/", f"{names[place]}/")
    return names


def _read_weights(
    file: h5py.File, names: dict[str, str]
) -> tuple[list[LayerInfo], dict[str, Any] | None]:
    """Returns every kernel of a weights file and the recipe it was trained with."""
    recipe = None
    stored = file.get("compression_state/vars/recipe")
    if isinstance(stored, h5py.Dataset):
        recipe = json.loads(stored[...].tobytes())
    quantized = bool(recipe and recipe.get("quantize"))
    found: list[LayerInfo] = []

    def visit(name: str, item: Any) -> None:
        if not isinstance(item, h5py.Dataset) or name.startswith("optimizer"):
            return
        layer, _, last = name.rpartition("/vars/")
        if last != "0" or item.ndim < 2 or layer.endswith("/compression"):
            return
        values = item[...]
        child = file.get(f"{layer}/compression")
        mask = None if child is None else child.get("vars/mask")
        kept = values != 0 if mask is None else mask[...]
        sparsity = float(1 - np.mean(kept))
        found.append(
            LayerInfo(
                names.get(layer, layer),
                None,
                tuple(values.shape),
                None,
                detect_pattern(_canonical(kept.astype(bool))),
                sparsity,
                quantized and child is not None,
            )
        )

    file.visititems(visit)
    return found, recipe


def _canonical(kept: np.ndarray) -> np.ndarray:
    """Returns a Keras kernel's mask as (outputs, taps, inputs)."""
    taps = int(np.prod(kept.shape[:-2]))
    return kept.reshape(taps, *kept.shape[-2:]).transpose(2, 0, 1)
