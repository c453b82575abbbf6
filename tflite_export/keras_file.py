"""Reads a .keras file layer by layer, without executing anything in it."""

import io
import json
import math
import re
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from qsparse.tflite_export.detect import detect_pattern
from qsparse.tflite_export.layer_info import LayerInfo

_WEIGHTS = "model.weights.h5"


class _Configured(NamedTuple):
    """A layer as the model's configuration describes it."""

    path: str
    config: dict[str, Any]
    input_shape: list[int | None] | None


def read_keras_file(path: Path) -> tuple[list[LayerInfo], dict[str, Any] | None]:
    """Returns the layers with a kernel, and the recipe they were trained with.

    Args:
        path: a file written by `model.save`.

    Raises:
        ValueError: the file is damaged, or was not saved by Keras 3.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            weights = archive.read(_WEIGHTS)
            configured = _layers(json.loads(archive.read("config.json")))
        with h5py.File(io.BytesIO(weights), "r") as file:
            return _read_weights(file, configured)
    except (zipfile.BadZipFile, LookupError, OSError, ValueError) as error:
        raise ValueError(
            f"{path} is damaged, or no model saved by Keras 3: {error}"
        ) from error


def _layers(
    model: dict[str, Any], group: str = "", path: str = ""
) -> dict[str, _Configured]:
    """Returns group in the weights file -> layer.

    Keras names groups by class and a count, in the order of the layers. The layers of
    a subclassed model are not in its configuration and keep the names of the groups.
    """
    found: dict[str, _Configured] = {}
    counts: dict[str, int] = {}
    config = model.get("config") or {}
    for layer in config.get("layers", []):
        kind = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", layer["class_name"])
        kind = re.sub("([a-z])([A-Z])", r"\1_\2", kind).lower()
        count = counts[kind] = counts.get(kind, -1) + 1
        place = f"{group}layers/{kind}" + (f"_{count}" if count else "")
        name = path + layer["config"]["name"]
        shape = (layer.get("build_config") or {}).get("input_shape")
        found[place] = _Configured(name, layer["config"], shape)
        found |= _layers(layer, f"{place}/", f"{name}/")
    return found


def _read_weights(
    file: h5py.File, configured: dict[str, _Configured]
) -> tuple[list[LayerInfo], dict[str, Any] | None]:
    recipe = None
    stored = file.get("compression_state/vars/recipe")
    if isinstance(stored, h5py.Dataset):
        recipe = json.loads(stored[...].tobytes())
    quantized = bool(recipe and recipe.get("quantize"))
    found: list[LayerInfo] = []

    def visit(name: str, item: Any) -> None:
        if not isinstance(item, h5py.Dataset) or name.startswith("optimizer"):
            return
        group, _, last = name.rpartition("/vars/")
        if last != "0" or item.ndim < 2 or group.endswith("/compression"):
            return
        values = item[...]
        child = file.get(f"{group}/compression")
        mask = None if child is None else child.get("vars/mask")
        kept = values != 0 if mask is None else mask[...]
        layer = configured.get(group)
        positions = None if layer is None else _positions(layer)
        found.append(
            LayerInfo(
                layer=group if layer is None else layer.path,
                op=None,
                shape=tuple(values.shape),
                macs=None if positions is None else positions * values.size,
                pattern=detect_pattern(_canonical(kept.astype(bool))),
                sparsity=float(1 - np.mean(kept)),
                int8=quantized and child is not None,
            )
        )

    file.visititems(visit)
    return found, recipe


def _positions(layer: _Configured) -> int | None:
    """Returns how often one inference uses each weight; None if unknown."""
    shape, config = layer.input_shape, layer.config
    if not shape or any(length is None for length in shape[1:]):
        return None
    window = config.get("kernel_size")
    if window is None:
        return math.prod(shape[1:-1]) if "units" in config else None
    positions = 1
    for length, size, stride, dilation in zip(
        shape[1:-1], window, config["strides"], config["dilation_rate"], strict=True
    ):
        covered = 0 if config["padding"] == "same" else dilation * (size - 1)
        positions *= -(-(length - covered) // stride)
    return positions


def _canonical(kept: np.ndarray) -> np.ndarray:
    """Returns a Keras kernel's mask as (outputs, taps, inputs)."""
    taps = int(np.prod(kept.shape[:-2]))
    return kept.reshape(taps, *kept.shape[-2:]).transpose(2, 0, 1)
