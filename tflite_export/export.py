"""`qsparse.export`: Keras model -> verified LiteRT file."""

import os
import time
import warnings
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from qsparse.engine.fixed import export_mode
from qsparse.engine.kernel import changed_by_keras
from qsparse.engine.phases import report_unfinished
from qsparse.keras_compat import walk_layers
from qsparse.tflite_export import ethos
from qsparse.tflite_export.activations import check_formats, integer_precision
from qsparse.tflite_export.export_report import ExportReport
from qsparse.tflite_export.files.grid import GRIDS, INT8_GRID
from qsparse.tflite_export.files.int4 import to_int4
from qsparse.tflite_export.files.model_file import ModelFile
from qsparse.tflite_export.files.precision import DYNAMIC_RANGE, FLOAT, INT8
from qsparse.tflite_export.files.write import check_destination, write_whole
from qsparse.tflite_export.graph.convert import INFERENCE_TYPES, convert
from qsparse.tflite_export.graph.file_ends import name_ends
from qsparse.tflite_export.graph.freeze import freeze
from qsparse.tflite_export.graph.samples import collect
from qsparse.tflite_export.parity.beside_keras import coarse_inputs, compare_with_keras
from qsparse.tflite_export.parity.fidelity import LEAST_SQNR, USUAL_SQNR
from qsparse.tflite_export.parity.outputs import compare, count_macs, float_ops, sizes
from qsparse.tflite_export.parity.tensor_map import map_tensors
from qsparse.tflite_export.parity.trained import (
    FOLDED,
    FOUND,
    IN_FLOAT,
    IN_LOOP,
    UNUSED,
    LayerMatch,
    restore,
    trained_layers,
)
from qsparse.tflite_export.parity.unlike_training import unlike_ranges, unlike_training
from qsparse.tflite_export.parity.wide_biases import widen_biases
from qsparse.tflite_export.passes import BY_PRECISION
from qsparse.tflite_export.passes.base import Context
from qsparse.tflite_export.passes.calibrate import count_sources
from qsparse.tflite_export.passes.run import run

FORMAT_VERSION = 2
_PARITY_SAMPLES = 32
# Precision -> type of inputs and outputs.
_ENDS = {precision: grid.dtype.name for precision, grid in GRIDS.items()}
_CHANGED = (
    "A layer is 'changed' if its own `call`, or what calls it, computes other weights "
    "from its kernel; 'in a loop' if it is called in a scan or an RNN cell; 'lost' if "
    "the converter made something else of it (please report that)."
)


def export(
    model: keras.Model,
    path: str | os.PathLike,
    representative_data: Any = None,
    *,
    batch_size: int = 1,
    inference_type: str | None = None,
    dynamic_range: bool = False,
    weight_bits: int = 8,
    quantize: bool = True,
    target: str | None = None,
    calibration_samples: int = 256,
    verification_samples: int = 64,
    min_sqnr: float = LEAST_SQNR,
    strict: bool = False,
) -> ExportReport:
    """Writes a model as a LiteRT file, int8 by default, and proves that it works.

    A model that was trained in the format "a16w8" gets int16 activations.

    Compressed layers keep their trained integers and ranges exactly; whatever
    training did not cover gets a range from `representative_data`, so a model that
    was never compressed is quantized too. The file is loaded, run and compared
    with what the model itself predicts before it is written, on samples that are held
    back from calibration where there are 128 or more.

    Args:
        model: a built Keras model: Sequential, functional or subclassed.
        path: where to write, ending in .tflite. Replaced only on success.
        representative_data: typical inputs: an array, a list or dict of arrays for
            several inputs, or an iterable of batches (features or
            `(features, labels)`) such as a `tf.data.Dataset`. Labels that are
            classes of the only output give the accuracy of model and file.
        batch_size: static batch of the file.
        inference_type: "int8" for int8 inputs and outputs ("int16" in a16w8),
            "float32" to keep them in float. None takes integers where the file computes
            in them.
        dynamic_range: True keeps activations in float and only weights in int8: no
            range is needed, LiteRT finds one for every input as it comes. Slower
            than int8, and our kernels do not take part; weights of fewer than 1,024
            elements stay float, as the converter leaves them.
        weight_bits: 4 halves the weights of a dynamic-range file: 15 levels per
            output channel, found from the weights alone, so expect to lose accuracy.
            Only with `dynamic_range`: LiteRT has no int8 kernels with such weights.
        quantize: False writes float weights, with the same zeros; weights that were
            trained on their int8 grid stay on it.
        target: "ethos-u85" also checks that every pruned layer obeys 2:4 along its
            input channels, as that NPU needs; None for CPUs.
        calibration_samples: most samples that ranges are found on.
        verification_samples: samples on which the file is compared with the model.
        min_sqnr: a file is refused if the power of an output of the model is less
            than this, in dB, above that of its difference from the file; below 25 dB
            there is a warning. A negative number accepts everything.
        strict: refuse a file in which any compressed layer is not exact, not only
            the pruned ones, and a model whose recipe was not carried out.

    Returns:
        What was written, and how close it is to the model.

    Raises:
        ValueError: an argument, the data or the weights cannot be used; nothing is
            written.
        FileNotFoundError: the folder of `path` does not exist.
        RuntimeError: conversion or verification failed; nothing is written.
    """
    started = time.perf_counter()
    _check_model(model)
    report_unfinished(model, strict)
    destination = check_destination(path, ".tflite")
    _check_counts(
        batch_size=batch_size,
        calibration_samples=calibration_samples,
        verification_samples=verification_samples,
    )
    precision = _choose_precision(model, dynamic_range, quantize)
    _check_weight_bits(weight_bits, precision)
    inference_type = _choose_inference_type(precision, inference_type)
    _check_target(target, precision)
    given = collect(
        model,
        representative_data,
        batch_size=batch_size,
        limit=calibration_samples + verification_samples,
    )
    samples, judging = given.hold_back(calibration_samples, verification_samples)
    with export_mode(model, on_grid=quantize):
        graph = freeze(model, samples.specs, samples.structure)
    trained = trained_layers(model)
    context = Context(
        batches=samples.batches,
        float_ends=inference_type == "float32",
        grid=GRIDS.get(precision, INT8_GRID),
    )
    run(graph, BY_PRECISION[precision], context, min_sqnr)
    ranges = context.ranges
    file = ModelFile(convert(graph, inference_type, quantize_weights=quantize))
    widen_biases(file, graph)
    matches = restore(file, graph, trained, in_integers=precision in GRIDS)
    _check_found(matches, strict)
    if weight_bits == 4:
        rounded = to_int4(file)
        matches = [
            replace(m, dtype="int4") if m.tensor in rounded else m for m in matches
        ]
    if target is not None:
        ethos.check_two_of_four(file, matches)
    counts = count_sources(ranges)
    tensors = map_tensors(file, graph, ranges)
    renamed = name_ends(file, graph)
    file.set_metadata(
        {
            "version": FORMAT_VERSION,
            "precision": precision,
            "target": target,
            "ranges": counts,
            "layers": [
                match.to_dict() | {"plan": layer.plan.to_dict()}
                for match, layer in zip(matches, trained, strict=True)
            ],
            "tensors": [
                [of, None if name is None else renamed.get(name, name)]
                for of, name in tensors
            ],
            "choices": context.record.to_dict(),
        }
    )
    contents = file.to_bytes()
    parity = compare(contents, graph, ranges, samples.batches[:_PARITY_SAMPLES])
    fidelity = compare_with_keras(model, contents, judging)
    refused = [why for entry in fidelity if (why := entry.failure(min_sqnr))]
    if refused:
        raise RuntimeError(
            f"{' '.join(refused)} It was not written. Give representative_data scaled "
            "as in training; if they are, pass `min_sqnr=-200` to write the file, and "
            "let `qsparse verify` show where the difference begins."
        )
    doubts = [text for entry in fidelity for text in entry.warnings()]
    doubts += coarse_inputs(file, judging)
    doubts += unlike_training(graph, ranges, samples.batches)
    if any(entry.sqnr < USUAL_SQNR for entry in fidelity):
        doubts += unlike_ranges(graph, ranges, samples.batches)
    doubts += given.constant()
    if counts["calibrated"]:
        doubts += given.few()
    macs, int8_share = count_macs(file)
    raw, zipped = sizes(contents)
    write_whole(destination, contents)
    for text in doubts:
        warnings.warn(f"{destination}: {text}", stacklevel=2)
    return ExportReport(
        path=str(destination),
        precision=precision,
        target=target,
        inference_type=inference_type,
        batch_size=batch_size,
        size_bytes=raw,
        gzip_bytes=zipped,
        macs=macs,
        int8_share=int8_share,
        ranges=counts,
        parity=parity,
        fidelity=fidelity,
        warnings=doubts,
        layers=matches,
        float_ops=float_ops(file) if precision in GRIDS else [],
        seconds=time.perf_counter() - started,
    )


def _check_model(model: Any) -> None:
    if not isinstance(model, keras.Model):
        raise TypeError(
            f"model must be a Keras model, got {type(model).__name__}. The order is "
            "export(model, path, representative_data)."
        )
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            f"export needs Keras on TensorFlow, and this is {keras.backend.backend()}. "
            "Save the model (model.save), set KERAS_BACKEND=tensorflow, and export "
            "what qsparse.load_model gives there."
        )
    for path, layer in walk_layers(model):
        if layer.compute_dtype == "float64":
            raise ValueError(
                f"layer {path!r} computes in float64, which LiteRT does not. Build the "
                "model in float32 and copy the weights."
            )
        changed = changed_by_keras(layer)
        if changed and layer.quantization_mode is not None:
            raise ValueError(
                f"layer {path!r} {changed}, which the converter cannot take: export "
                "the model as it was before `quantize()`; this writes int8 too."
            )


def _choose_precision(model: keras.Model, dynamic_range: bool, quantize: bool) -> str:
    if dynamic_range and not quantize:
        raise ValueError(
            "dynamic_range=True asks for int8 weights and quantize=False for float "
            "ones. Leave one of them out."
        )
    check_formats(model)
    if not quantize:
        return FLOAT
    return DYNAMIC_RANGE if dynamic_range else integer_precision(model)


def _check_weight_bits(weight_bits: int, precision: str) -> None:
    if weight_bits not in (4, 8):
        raise ValueError(f"weight_bits must be 4 or 8, got {weight_bits!r}.")
    if weight_bits == 4 and precision != DYNAMIC_RANGE:
        raise ValueError(
            "weight_bits=4 needs dynamic_range=True: LiteRT multiplies weights of four "
            "bits with float activations only."
        )


def _choose_inference_type(precision: str, inference_type: str | None) -> str:
    if inference_type is None:
        return _ENDS.get(precision, "float32")
    if inference_type not in INFERENCE_TYPES:
        raise ValueError(
            f"inference_type must be one of {sorted(INFERENCE_TYPES)}, got "
            f"{inference_type!r}."
        )
    if inference_type not in ("float32", _ENDS.get(precision)):
        ends = f"{_ENDS[precision]} or float" if precision in _ENDS else "float"
        raise ValueError(
            f"a file with {precision} precision has {ends} inputs and outputs; "
            f"inference_type must be 'float32' or left out, got {inference_type!r}."
        )
    return inference_type


def _check_target(target: str | None, precision: str) -> None:
    if target not in (None, ethos.TARGET):
        raise ValueError(f"target must be None or {ethos.TARGET!r}, got {target!r}.")
    if target is not None and precision != INT8:
        raise ValueError(
            f"target {target!r} computes in int8, and this file would have {precision} "
            "precision; leave dynamic_range and quantize as they are, and train in an "
            "int8 format."
        )


def _check_counts(**counts: int) -> None:
    for name, value in counts.items():
        if not isinstance(value, int | np.integer) or value < 1:
            raise ValueError(f"{name} must be a positive integer, got {value!r}.")


def _check_found(matches: list[LayerMatch], strict: bool) -> None:
    """Refuses a file in which the zeros, or with `strict` the weights, are not proven.

    A layer that the model does not use when it predicts has lost nothing.
    """
    nothing_lost = (FOUND, IN_FLOAT, UNUSED, FOLDED)
    wrong = [m for m in matches if m.state not in nothing_lost]
    wrong = [m for m in wrong if strict or (m.pattern and m.state != IN_LOOP)]
    if not wrong:
        return
    found = "; ".join(f"{m.path!r} is {m.state}" for m in wrong)
    raise RuntimeError(
        f"the weights of {len(wrong)} layers cannot be proven in the converted file, "
        f"which was not written: {found}. {_CHANGED} Exclude them from the recipe."
    )
