"""What is in a .tflite, .qsp or .keras file, layer by layer."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from qsparse.tflite_export.advice import advise
from qsparse.tflite_export.files.keras_file import read_keras_file
from qsparse.tflite_export.files.layer_info import LayerInfo
from qsparse.tflite_export.files.model_file import ModelFile
from qsparse.tflite_export.files.model_parts import CHANNEL_AXIS, Executed, Tensor
from qsparse.tflite_export.files.patterns import detect_pattern
from qsparse.tflite_export.runtime.apart import plan_apart


@dataclass(frozen=True)
class Inspection:
    """What was found in a file.

    Attributes:
        path: the file.
        kind: "tflite", packed or not, or "keras".
        size_bytes: its size.
        layers: one entry per layer with weights.
        metadata: the `qsparse` entry of a .tflite, the recipe of a .keras; or None.
        macs: multiply-accumulates of one inference, those without weights included;
            None in a .keras file.
        int8_macs: those that multiply integers; None in a .keras file.
        problem: why LiteRT cannot prepare a .tflite file; None if it can.
        advice: what to know before speed is expected of its zeros on this CPU, or "".
        unfinished: what the model of a .keras lacks of what its recipe asks for; None
            if it lacks nothing.
    """

    path: str
    kind: str
    size_bytes: int
    layers: list[LayerInfo]
    metadata: dict[str, Any] | None
    macs: int | None = None
    int8_macs: int | None = None
    problem: str | None = None
    advice: str = ""
    unfinished: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as JSON-ready values."""
        return asdict(self)


def inspect_file(path: str | os.PathLike) -> Inspection:
    """Reads a file; executes nothing that is in it.

    What our delegate takes is asked of LiteRT in a process of its own, so that a file
    that LiteRT does not survive is read as well, see `Inspection.problem`.

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
    plan: dict[int, dict[str, Any]] | None = None
    problem, advice = None, None
    try:
        decisions = plan_apart(path)
        plan = {entry["node"]: entry for entry in decisions}
        advice = advise(path, decisions)
    except ValueError as error:
        problem = str(error)
    metadata = file.metadata()
    names = {
        str(entry["tensor"]): str(entry["path"])
        for entry in (metadata or {}).get("layers", [])
    }
    layers = [
        _describe(entry, weights, uses, names, plan)
        for entry in file.executed()
        for weights, uses in entry.op.products
        if weights.data is not None
    ]
    return Inspection(
        str(path),
        "tflite",
        path.stat().st_size,
        layers,
        metadata,
        sum(op.macs for op in file.ops),
        sum(op.int8_macs for op in file.ops),
        problem,
        "" if advice is None else str(advice),
    )


def _describe(
    entry: Executed,
    weights: Tensor,
    uses: int,
    names: dict[str, str],
    plan: dict[int, dict[str, Any]] | None,
) -> LayerInfo:
    kept = _kept(entry.op.name, weights)
    kernel, reason = (None, "") if plan is None else _runs_on(entry, plan)
    return LayerInfo(
        names.get(weights.name) or _layer_of(weights.name),
        entry.op.name,
        weights.shape,
        entry.times * uses * weights.size,
        detect_pattern(kept),
        float(1 - kept.mean()),
        entry.op.format,
        kernel,
        reason,
    )


def _runs_on(entry: Executed, plan: dict[int, dict[str, Any]]) -> tuple[str, str]:
    """Returns what runs an op, and why."""
    if entry.loop is not None:
        rounds = f"{entry.times} times" if entry.counted else "data says how often"
        return "LiteRT", f"in a loop, {rounds}"
    decision = plan.get(entry.op.index, {})
    reason = decision.get("reason") or "not an op our delegate takes"
    if not decision.get("claimed"):
        # XNNPACK has no kernels for int16.
        taken = entry.op.name in CHANNEL_AXIS and not entry.op.is_a16w8
        return "XNNPACK" if taken else "LiteRT", reason
    if reason.endswith("predicted gain"):
        reason = f"{reason} {decision['predicted_gain']:.1f}x"
    return f"{decision['kernel']} ({decision['isa']})", reason


def _kept(op: str, weights: Tensor) -> np.ndarray:
    """Returns which weights are not zero, (outputs, taps, inputs)."""
    kept = np.asarray(weights.data != 0)
    shape = weights.shape
    if op == "DEPTHWISE_CONV_2D":
        return kept.reshape(-1, shape[-1]).T[:, :, None]
    if op == "CONV_3D":  # (depth, height, width, inputs, outputs)
        return kept.reshape(-1, *shape[-2:]).transpose(2, 0, 1)
    if op == "CONV_3D_TRANSPOSE":  # (depth, height, width, outputs, inputs)
        return kept.reshape(-1, *shape[-2:]).transpose(1, 0, 2)
    return kept.reshape(shape[0], -1, shape[-1])


def _layer_of(tensor: str) -> str:
    """Returns the layer part of a tensor name such as `frozen/model/conv/MatMul`."""
    return tensor.split(";")[0].removeprefix("frozen/").rpartition("/")[0] or tensor
