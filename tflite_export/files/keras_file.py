"""Reads a .keras file layer by layer, without executing anything in it."""

import io
import json
import math
import re
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

import h5py
import ml_dtypes
import numpy as np

from qsparse.planning.clock import Clock
from qsparse.planning.progress import Progress, has_parts
from qsparse.tflite_export.files.layer_info import LayerInfo
from qsparse.tflite_export.files.patterns import detect_pattern
from qsparse.tflite_export.files.precision import FLOAT, INT8

_WEIGHTS = "model.weights.h5"
_CHILD = "qsparse"
_MOST_GROWTH = 100
# Formats whose weights a file holds in int8, by the names in plans.
_IN_INT8 = ("int8", "int", "learned-int")


class _Configured(NamedTuple):
    """A layer as the model's configuration describes it."""

    path: str
    kind: str
    config: dict[str, Any]
    input_shape: list[int | None] | None


class KerasFile(NamedTuple):
    """What a .keras file holds.

    Attributes:
        layers: the layers with a kernel.
        recipe: the recipe they were trained with, or None.
        unfinished: what the model lacks of what the recipe asks for, or None.
    """

    layers: list[LayerInfo]
    recipe: dict[str, Any] | None
    unfinished: str | None


def read_keras_file(path: Path) -> KerasFile:
    """Reads layers and recipe.

    Args:
        path: a file written by `model.save`.

    Raises:
        ValueError: the file is damaged, or was not saved by Keras 3.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            configured = _layers(json.loads(_member(archive, "config.json")))
            weights = io.BytesIO(_member(archive, _WEIGHTS))
        with h5py.File(weights, "r") as file:
            return _read_weights(file, configured)
    # A hostile file can be wrong in any way, at any depth.
    except Exception as error:
        raise ValueError(
            f"{path} is damaged, or no model saved by Keras 3: {error}"
        ) from error


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    """Returns a file of the archive; Keras stores them without compression."""
    info = archive.getinfo(name)
    if info.file_size > _MOST_GROWTH * max(info.compress_size, 1024):
        raise ValueError(f"{name} would grow to {info.file_size:,} bytes")
    return archive.read(info)


def _values(item: h5py.Dataset) -> np.ndarray:
    """Returns a dataset that is as large as the file says it is."""
    stored = item.id.get_storage_size()
    if item.nbytes > _MOST_GROWTH * max(stored, 1024):
        raise ValueError(
            f"{item.name} claims {item.nbytes:,} bytes but stores {stored:,}"
        )
    values = item[...]
    # HDF5 has no such type; Keras stores its bytes.
    short = item.attrs.get("dtype") == "bfloat16" and values.dtype.itemsize == 2
    return values.view(ml_dtypes.bfloat16) if short else values


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
        found[place] = _Configured(
            name, str(layer["class_name"]), layer["config"], shape
        )
        found |= _layers(layer, f"{place}/", f"{name}/")
    return found


def _read_weights(file: h5py.File, configured: dict[str, _Configured]) -> KerasFile:
    state: h5py.Group | None = None
    ranges: list[np.ndarray] = []
    kept_in_masks = weights_in_masks = 0
    # With each layer: whether it is compressed, and its plan. Older files have none.
    found: list[tuple[LayerInfo, bool, Any]] = []

    def visit(name: str, item: Any) -> None:
        nonlocal state, kept_in_masks, weights_in_masks
        if not isinstance(item, h5py.Dataset) or name.startswith("optimizer"):
            return
        if name.endswith(f"{_CHILD}/shared/vars/recipe"):
            state = item.parent
        if f"/{_CHILD}/" in name and name.endswith("/vars/ranges"):
            ranges.extend(_values(item))
        if name.endswith(f"/{_CHILD}/vars/mask"):
            kept_in_masks += int(np.count_nonzero(_values(item)))
            weights_in_masks += item.size
        group, _, last = name.rpartition("/vars/")
        if last != "0" or item.ndim < 2:
            return
        values = _values(item)
        child = file.get(f"{group}/{_CHILD}/vars")
        kept = values != 0
        if child is not None and "mask" in child:
            kept = _values(child["mask"]).astype(bool)
        layer = configured.get(group)
        positions = None if layer is None else _positions(layer)
        info = LayerInfo(
            layer=group if layer is None else layer.path,
            op=None,
            shape=tuple(values.shape),
            macs=None if positions is None else positions * values.size,
            pattern=detect_pattern(_canonical(kept, child)),
            sparsity=float(1 - np.mean(kept)),
            format=FLOAT,
        )
        plan = None if child is None else child.get("plan")
        found.append((info, child is not None, plan))

    file.visititems(visit)
    if state is None:
        return KerasFile([info for info, *_ in found], None, None)
    recipe = json.loads(_values(state["recipe"]).tobytes())
    prunes, quantizes = has_parts(recipe)
    progress = Progress(
        recipe=recipe,
        clock=Clock.from_saved(_values(state["clock"]).tolist(), prunes, quantizes),
        quantizing=bool(_values(state["quantizing"])),
        sparsity=1.0 - kept_in_masks / max(weights_in_masks, 1),
        ranges=len(ranges),
        trained=sum(bool(low < high) for low, high in ranges),
    )
    layers = [
        replace(info, format=_format_of(plan, quantizes)) if mine else info
        for info, mine, plan in found
    ]
    return KerasFile(layers, recipe, progress.shortfall())


def _format_of(plan: h5py.Dataset | None, quantizes: bool) -> str:
    """Returns what a layer's plan rounds to; files of before have no plan."""
    if plan is None:
        return INT8 if quantizes else FLOAT
    format = json.loads(_values(plan).tobytes())["weight_format"]
    if format is None:
        return FLOAT
    return INT8 if format["name"] in _IN_INT8 else str(format["name"])


def _positions(layer: _Configured) -> int | None:
    """Returns how often one inference uses each weight; None if unknown."""
    shape, config = layer.input_shape, layer.config
    # An unknown length is None; layers with several inputs have a list of shapes.
    lengths = (shape or [])[1:]
    if not shape or not _are_lengths(lengths):
        return None
    window = config.get("kernel_size")
    if window is None:
        return math.prod(lengths[:-1]) if "units" in config else None
    first = config.get("data_format") == "channels_first"
    image = lengths[1:] if first else lengths[:-1]
    if layer.kind.endswith("Transpose"):  # every pixel meets every weight
        return math.prod(image)
    if not _are_lengths([*window, *config["strides"], *config["dilation_rate"]]):
        return None
    positions = 1
    for length, size, stride, dilation in zip(
        image, window, config["strides"], config["dilation_rate"], strict=True
    ):
        covered = 0 if config["padding"] == "same" else dilation * (size - 1)
        positions *= -(-(length - covered) // stride)
    return positions


def _are_lengths(values: list[Any]) -> TypeGuard[list[int]]:
    return all(isinstance(value, int) and value > 0 for value in values)


def _canonical(kept: np.ndarray, child: h5py.Group | None) -> np.ndarray:
    """Returns a Keras kernel's mask as (outputs, taps, inputs)."""
    if child is not None and "order" in child:
        ordered = kept.transpose(tuple(int(axis) for axis in child["order"][...]))
        shape = tuple(int(length) for length in child["canonical_shape"][...])
        return ordered.reshape(shape).transpose(2, 0, 1)
    taps = int(np.prod(kept.shape[:-2]))
    return kept.reshape(taps, *kept.shape[-2:]).transpose(2, 0, 1)
