"""`qsparse.export`: Keras model -> verified int8 LiteRT file."""

import os
import tempfile
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np

from qsparse.compressor import compressed_layers, export_mode
from qsparse.keras_compat import walk_layers
from qsparse.tflite_export.calibrate import count_sources, quantize_activations
from qsparse.tflite_export.convert import INFERENCE_TYPES, convert
from qsparse.tflite_export.data import collect
from qsparse.tflite_export.export_report import ExportReport
from qsparse.tflite_export.flatbuffer import ModelFile
from qsparse.tflite_export.freeze import freeze
from qsparse.tflite_export.verify import compare, coverage, float_ops, sizes
from qsparse.tflite_export.weights import LayerMatch, TrainedWeights, restore

FORMAT_VERSION = 1
_VERIFIED_SAMPLES = 32
# Rounding alone stays within a few steps, even through a transformer; a mean this
# far off is a file that computes something else.
_BROKEN_LSB = 16.0


def export(
    model: keras.Model,
    path: str | os.PathLike,
    representative_data: Any,
    *,
    batch_size: int = 1,
    inference_type: str = "int8",
    calibration_samples: int = 256,
    strict: bool = False,
) -> ExportReport:
    """Writes a model as an int8 LiteRT file and proves that it works.

    Compressed layers keep their trained integers and ranges exactly; whatever
    training did not cover gets a range from `representative_data`, so a model that
    was never compressed is quantized too. The file is loaded, run and compared
    with the model before it is written.

    Args:
        model: a built Keras model: Sequential, functional or subclassed.
        path: where to write, ending in .tflite. Replaced only on success.
        representative_data: typical inputs: an array, a list or dict of arrays for
            several inputs, or an iterable of batches (features or
            `(features, labels)`) such as a `tf.data.Dataset`.
        batch_size: static batch of the file.
        inference_type: "int8" for int8 inputs and outputs, "float32" to keep them
            in float.
        calibration_samples: most samples read from `representative_data`.
        strict: refuse a file in which any compressed layer is not exact int8, not
            only the pruned ones.

    Returns:
        What was written, and how close it is to the model.

    Raises:
        ValueError: an argument, the data or the weights cannot be used; nothing is
            written.
        FileNotFoundError: the folder of `path` does not exist.
        RuntimeError: conversion or verification failed; nothing is written.
    """
    started = time.perf_counter()
    _check_dtypes(model)
    target = _check_path(path)
    _check_arguments(batch_size, inference_type, calibration_samples)
    samples = collect(
        model, representative_data, batch_size=batch_size, limit=calibration_samples
    )
    with export_mode(model):
        graph = freeze(model, samples.specs, samples.structure)
    trained = _trained_weights(model)
    ranges = quantize_activations(
        graph, samples.batches, [layer.by_channel() for layer in trained]
    )
    file = ModelFile(convert(graph, inference_type))
    matches = restore(file, trained)
    _check_found(matches, strict)
    counts = count_sources(ranges)
    file.set_metadata(
        {
            "version": FORMAT_VERSION,
            "ranges": counts,
            "layers": [match.to_dict() for match in matches],
        }
    )
    contents = file.to_bytes()
    parity = compare(contents, graph, ranges, samples.batches[:_VERIFIED_SAMPLES])
    if not parity.mean_lsb <= _BROKEN_LSB:
        raise RuntimeError(
            f"the exported file differs from the model by {parity.mean_lsb:.1f} steps "
            "of the output scale on average; it was not written. Please report this."
        )
    macs, int8_share = coverage(file)
    raw, zipped = sizes(contents)
    _write(target, contents)
    return ExportReport(
        path=str(target),
        inference_type=inference_type,
        batch_size=batch_size,
        size_bytes=raw,
        gzip_bytes=zipped,
        macs=macs,
        int8_share=int8_share,
        ranges=counts,
        parity=parity,
        layers=matches,
        float_ops=float_ops(file),
        seconds=time.perf_counter() - started,
    )


def _check_path(path: str | os.PathLike) -> Path:
    target = Path(path)
    if target.suffix != ".tflite":
        raise ValueError(f"path must end in .tflite, got {str(path)!r}.")
    if not target.parent.is_dir():
        raise FileNotFoundError(
            f"the folder {str(target.parent)!r} of path does not exist. Create it "
            "first."
        )
    return target


def _check_dtypes(model: keras.Model) -> None:
    for path, layer in walk_layers(model):
        if layer.compute_dtype == "float64":
            raise ValueError(
                f"layer {path!r} computes in float64, which LiteRT does not. Build the "
                "model in float32 and copy the weights."
            )


def _check_arguments(batch_size: int, inference_type: str, samples: int) -> None:
    if inference_type not in INFERENCE_TYPES:
        raise ValueError(
            f"inference_type must be one of {sorted(INFERENCE_TYPES)}, got "
            f"{inference_type!r}."
        )
    for name, value in (("batch_size", batch_size), ("calibration_samples", samples)):
        if not isinstance(value, int | np.integer) or value < 1:
            raise ValueError(f"{name} must be a positive integer, got {value!r}.")


def _trained_weights(model: keras.Model) -> list[TrainedWeights]:
    trained = []
    for layer in compressed_layers(model):
        found = layer.integer_weights()
        if found is None:
            continue
        values, _ = found
        values = np.asarray(values)
        mask = layer.mask()
        if mask is not None:
            mask = np.asarray(mask, bool).reshape(values.shape)
        pattern = None if layer.pattern is None else str(layer.pattern)
        trained.append(TrainedWeights(layer.path_in_model, values, mask, pattern))
    return trained


def _check_found(matches: list[LayerMatch], strict: bool) -> None:
    lost = [m.path for m in matches if m.tensor is None and (strict or m.pattern)]
    if lost:
        raise RuntimeError(
            f"the converted file has no exact int8 weights for {lost}, so their zeros "
            "cannot be verified; it was not written. If the model does not use these "
            "layers when it predicts, exclude them from the recipe."
        )


def _write(target: Path, contents: bytes) -> None:
    """Writes beside `target`, then renames: a reader never sees half a file."""
    handle, temporary = tempfile.mkstemp(suffix=".tmp", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(contents)
        # mkstemp makes the file private; give it the mode any other file gets.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise
