"""Runs a file and the Keras model it was made of on the same samples."""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from qsparse.tflite_export.files.model_file import ModelFile
from qsparse.tflite_export.files.quiet import quiet
from qsparse.tflite_export.graph.freeze import name_outputs
from qsparse.tflite_export.graph.samples import Samples
from qsparse.tflite_export.parity.fidelity import (
    FEW_STEPS,
    Fidelity,
    classifying_outputs,
    coarse_channels,
    judge,
    output_steps,
)
from qsparse.tflite_export.parity.outputs import dequantize, on_grid
from qsparse.tflite_export.runtime.interpreter import plain_interpreter

_AT_ONCE = 16  # samples; more would take memory and save no time


def compare_with_keras(
    model: keras.Model, contents: bytes, samples: Samples
) -> list[Fidelity]:
    """Compares every output of a file with what the Keras model predicts.

    Args:
        model: the model as the user has it, not in export mode.
        contents: the .tflite file made of it.
        samples: what both are run on; its labels, if they are classes of the only
            output, give accuracies.

    Returns:
        One entry per output.

    Raises:
        RuntimeError: LiteRT cannot load or run the file.
    """
    file = ModelFile(contents)
    got = _run(file, contents, samples)
    wanted = predict(model, samples)
    steps, softmax = output_steps(file), classifying_outputs(file)
    labels = samples.labels if len(got) == 1 else None
    return [
        judge(
            name,
            wanted[name],
            got[name],
            steps[name],
            labels,
            name in softmax or (len(got) == 1 and trained_on_classes(model)),
        )
        for name in wanted
    ]


def coarse_inputs(file: ModelFile, samples: Samples) -> Iterator[str]:
    """Yields a sentence for each int8 input with features it cannot tell apart."""
    inputs, _ = file.signature()
    for position, name in enumerate(samples.specs):
        tensor = file.tensors[inputs[name]]
        array = np.concatenate([batch[position] for batch in samples.batches])
        if tensor.scales.size != 1 or array.dtype.kind != "f" or array.ndim < 2:
            continue
        step = float(tensor.scales[0])
        few = coarse_channels(array.reshape(-1, array.shape[-1]), step)
        if few.size and array.shape[-1] > 1:
            shown = ", ".join(map(str, few[:5])) + (", ..." if few.size > 5 else "")
            yield (
                f"input {name!r}: features [{shown}] of {array.shape[-1]} span under "
                f"{FEW_STEPS} steps of its scale (one step is {step:.4g}), so the "
                "file hardly sees them. Export with inference_type='float32' and keep "
                "the normalization in the model, or normalize before the model."
            )


def predict(model: keras.Model, samples: Samples) -> dict[str, np.ndarray]:
    """Returns what a model computes for all samples, in float32, by output name.

    Several batches go through the model at once where their outputs can be told
    apart again.
    """
    size = len(samples.batches[0][0])
    together = max(_AT_ONCE // size, 1) if _takes_any_batch(model) else 1
    parts: list[dict[str, np.ndarray]] = []
    for start in range(0, len(samples.batches), together):
        some = samples.batches[start : start + together]
        joined = [np.concatenate(arrays) for arrays in zip(*some, strict=True)]
        outputs = _predict(model, samples, joined)
        if len(some) > 1 and any(
            array.ndim == 0 or len(array) != size * len(some)
            for array in outputs.values()
        ):
            parts += [_predict(model, samples, batch) for batch in some]
        else:
            parts.append(outputs)
    return _joined(parts)


def _takes_any_batch(model: keras.Model) -> bool:
    """Returns whether a functional model leaves the size of a batch open."""
    inputs = keras.tree.flatten(getattr(model, "inputs", None) or [])
    return bool(inputs) and all(x.shape and x.shape[0] is None for x in inputs)


def _predict(
    model: keras.Model, samples: Samples, batch: list[np.ndarray]
) -> dict[str, np.ndarray]:
    inputs = keras.tree.pack_sequence_as(samples.structure, list(batch))
    outputs = model(inputs, training=False)
    return {
        name: keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32"))
        for name, tensor in name_outputs(model, outputs).items()
    }


def trained_on_classes(model: keras.Model) -> bool:
    """Returns whether a model was compiled with one loss that is about classes."""
    loss = getattr(model, "loss", None)
    name = loss if isinstance(loss, str) else getattr(loss, "name", None)
    return isinstance(name, str) and "categorical" in name.lower()


def _run(file: ModelFile, contents: bytes, samples: Samples) -> dict[str, np.ndarray]:
    """Returns what the outputs of the file mean, in float64, samples first."""
    inputs, outputs = file.signature()
    try:
        with quiet():
            interpreter = plain_interpreter(contents)
            interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        raise RuntimeError(f"LiteRT cannot load the exported file: {error}") from error
    details = {d["index"]: d for d in interpreter.get_tensor_details()}
    computed = []
    for batch in samples.batches:
        for name, array in zip(samples.specs, batch, strict=True):
            entry = details[inputs[name]]
            stored, _ = on_grid(array, entry, None)
            interpreter.set_tensor(entry["index"], stored)
        interpreter.invoke()
        computed.append(
            {
                name: dequantize(interpreter.get_tensor(index), details[index])
                for name, index in outputs.items()
            }
        )
    return _joined(computed)


def _joined(parts: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    # An output without a batch axis counts as one sample a run.
    return {
        name: np.concatenate([np.atleast_1d(part[name]) for part in parts])
        for name in parts[0]
    }
