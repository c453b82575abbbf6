"""Puts a model and the file exported from it side by side again.

The fake-quantized graph is built anew from the model with the ranges that stand in the
file, so that nothing has to be calibrated and both sides compute on the same grids.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from qsparse.engine.fixed import export_mode
from qsparse.saving import load_model
from qsparse.tflite_export.files.grid import BY_TYPE, GRIDS, Grid
from qsparse.tflite_export.files.keras_file import read_keras_file
from qsparse.tflite_export.files.model_file import ModelFile
from qsparse.tflite_export.files.model_parts import Tensor
from qsparse.tflite_export.files.precision import INT8
from qsparse.tflite_export.graph.freeze import freeze
from qsparse.tflite_export.graph.graph import Graph
from qsparse.tflite_export.graph.ranges import Range
from qsparse.tflite_export.graph.samples import Samples, collect
from qsparse.tflite_export.parity.identity import paired
from qsparse.tflite_export.parity.regions import Region, find_region
from qsparse.tflite_export.parity.tensor_map import in_order
from qsparse.tflite_export.parity.trained import TrainedLayer, trained_layers
from qsparse.tflite_export.passes import BY_PRECISION
from qsparse.tflite_export.passes.base import Context
from qsparse.tflite_export.passes.record import Record, RecordError
from qsparse.tflite_export.passes.run import run
from qsparse.tflite_export.passes.safe_scales import widen

_RANGE_TOLERANCE = 1e-4  # relative; what float32 scales lose
_AGAIN = "Give the model and the file that was exported from it, or export it again."


@dataclass(frozen=True)
class Pair:
    """A model, its file, and what connects them.

    Attributes:
        model: the Keras model.
        file: the file.
        graph: the fake-quantized graph of the model, with the ranges of the file.
        ranges: tensor of the graph -> its range in the file, in topological order;
            tensors the file does not compute in integers are missing.
        stored: tensor of the graph -> tensor of the file that holds it.
        regions: tensor of the graph -> what computes it.
        trained: the compressed layers.
        samples: the data, in batches of the file.
        changed_ranges: trained ranges that are not those of the file.
    """

    model: keras.Model
    file: ModelFile
    graph: Graph
    ranges: dict[str, Range]
    stored: dict[str, Tensor]
    regions: dict[str, Region]
    trained: list[TrainedLayer]
    samples: Samples
    changed_ranges: list[str]


def load_keras(path: str | Path) -> keras.Model:
    """Loads a .keras file without running any code that is in it.

    Args:
        path: a file written by `model.save`.

    Raises:
        ValueError: another kind of file, a damaged one, or one with custom layers that
            are not registered.
        FileNotFoundError: no such file.
    """
    path = Path(path)
    if path.suffix != ".keras":
        raise ValueError(f"the model must be a .keras file, got {str(path)!r}.")
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    read_keras_file(path)  # refuses what would not fit in memory
    try:
        return load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # a hostile file can be wrong in any way
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(
            f"Keras cannot load {path}: {reason[0]} If it has layers of your own, "
            "register them and call qsparse.tflite_export.verify_file from Python."
        ) from error


def pair(model: keras.Model, file: ModelFile, data: Any, limit: int) -> Pair:
    """Builds the graph of `model` with the ranges of `file`.

    Args:
        model: a built Keras model.
        file: the file exported from it.
        data: samples in any form `qsparse.export` takes.
        limit: most samples to read.

    Raises:
        ValueError: the two do not belong together, or the data does not fit.
    """
    recorded, record = _recorded(file)
    precision = precision_of(file)
    grid = GRIDS[precision]
    batch_size = file.inputs[0].shape[0] if file.inputs and file.inputs[0].shape else 1
    samples = collect(model, data, batch_size=batch_size, limit=limit)
    with export_mode(model):
        graph = freeze(model, samples.specs, samples.structure)
    trained = trained_layers(model)
    stored: dict[str, Tensor] = {}
    changed: list[str] = []

    def take(graph: Graph, context: Context) -> None:
        """Takes the ranges of the file, which are those of the model where trained."""
        wanted = in_order(graph, context.ranges)
        stored.update(_match(file, graph, list(wanted), recorded, grid))
        found = {t: _range_of(stored[t], wanted[t].source) for t in stored}
        expected = {
            t: wanted[t] if wanted[t].source == "trained" else found[t] for t in stored
        }
        widen(graph, expected)
        changed.extend(
            t
            for t in stored
            if wanted[t].source == "trained" and not _is_close(expected[t], found[t])
        )
        context.ranges = found

    context = Context(
        record=record, float_ends=float_ends(file), grid=grid, find_ranges=take
    )
    try:
        run(graph, BY_PRECISION[precision], context)
        record.finish()
    except RecordError as error:
        raise refuse(file, str(error)) from error
    ranges = context.ranges
    return Pair(
        model,
        file,
        graph,
        ranges,
        stored,
        {t: find_region(graph, t, set(ranges)) for t in ranges},
        trained,
        samples,
        changed,
    )


def float_ends(file: ModelFile) -> bool:
    """Returns whether a file was exported with float inputs and outputs."""
    return not any(t.dtype in BY_TYPE for t in [*file.inputs, *file.outputs])


def precision_of(file: ModelFile) -> str:
    """Returns what the metadata of a file say that it computes in."""
    return str((file.metadata() or {}).get("precision", INT8))


def refuse(file: ModelFile, why: str) -> ValueError:
    """Returns the error for a model and a file that do not belong together."""
    return ValueError(f"{file.name} was not made from this model: {why}. {_AGAIN}")


def _recorded(
    file: ModelFile,
) -> tuple[list[tuple[str, str | None]], Record]:
    """Returns the tensor of the file for each quantized tensor, in order.

    And what else the export decided from its data.
    """
    metadata = file.metadata()
    if metadata is None or "tensors" not in metadata:
        raise ValueError(
            f"{file.name} does not say which of its tensors are which of the model: it "
            "was not written by qsparse.export, or by an older version. Export the "
            "model again."
        )
    precision = precision_of(file)
    if precision not in GRIDS:
        raise ValueError(
            f"{file.name} has {precision} precision; only {' and '.join(GRIDS)} files "
            "are compared tensor by tensor."
        )
    if "choices" not in metadata:
        raise ValueError(
            f"{file.name} does not say what its export decided from data: it was "
            "written by an older version. Export the model again."
        )
    try:
        tensors = [
            (str(of), None if stored is None else str(stored))
            for of, stored in metadata["tensors"]
        ]
        return tensors, Record.from_metadata(metadata["choices"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"the entry of qsparse in {file.name} is damaged: {error}. {_AGAIN}"
        ) from error


def _match(
    file: ModelFile,
    graph: Graph,
    tensors: list[str],
    recorded: list[tuple[str, str | None]],
    grid: Grid,
) -> dict[str, Tensor]:
    names = paired(tensors, recorded)
    if names is None:
        raise refuse(
            file,
            f"the model has {len(tensors)} quantized tensors, the file {len(recorded)}",
        )
    by_name = {tensor.name: tensor for tensor in file.tensors}
    stored: dict[str, Tensor] = {}
    for tensor, name in zip(tensors, names, strict=True):
        if name is None:
            continue
        found = by_name.get(name)
        if found is None or found.dtype != grid.dtype or found.scales.size != 1:
            raise refuse(file, f"it has no {grid.dtype} tensor {name!r}")
        if np.prod(found.shape) != np.prod(graph.shapes[tensor]):
            raise refuse(
                file,
                f"tensor {tensor!r} has shape {graph.shapes[tensor]} in the model and "
                f"{found.shape} in the file",
            )
        stored[tensor] = found
    return stored


def _range_of(tensor: Tensor, source: str) -> Range:
    scale, zero = float(tensor.scales[0]), int(tensor.zero_points[0])
    grid = BY_TYPE[tensor.dtype]
    low, high = (grid.least - zero) * scale, (grid.greatest - zero) * scale
    return Range(source, low, high, grid=grid)


def _is_close(one: Range, other: Range) -> bool:
    """Whether two ranges are one; the file's is moved so that 0 is a level."""
    same_step = abs(one.step / other.step - 1) < _RANGE_TOLERANCE
    return same_step and abs(one.low - other.low) <= other.step
