"""How far a file is from the Keras model itself, output channel by output channel."""

from typing import NamedTuple

import keras
import numpy as np
from ai_edge_litert.interpreter import Interpreter

from qsparse.tflite_export.files.grid import INT8_GRID
from qsparse.tflite_export.files.model_file import ModelFile
from qsparse.tflite_export.parity.outputs import dequantize


class Distance(NamedTuple):
    """What a file returns, against `model.predict`.

    Attributes:
        sqnr: dB of each channel of the last axis; inf where nothing differs.
        lsb: greatest difference of each channel, in steps of the output; in 255ths of
            the range of the whole output, where that is float.
        wanted: what the model predicts.
        got: what the file returns, dequantized.
    """

    sqnr: np.ndarray
    lsb: np.ndarray
    wanted: np.ndarray
    got: np.ndarray


def run_file(path, x):
    """Return the outputs of a file of batch 1 by name, dequantized.

    Args:
        path: the file.
        x: array of samples, or one by input name.
    """
    content = path.read_bytes()
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    inputs, outputs = ModelFile(content).signature()
    details = {d["index"]: d for d in interpreter.get_tensor_details()}
    data = x if isinstance(x, dict) else {next(iter(inputs)): x}
    found = {name: [] for name in outputs}
    for sample in range(len(next(iter(data.values())))):
        for name, values in data.items():
            entry = details[inputs[name]]
            value = values[sample : sample + 1]
            if entry["dtype"] == np.int8:
                value = INT8_GRID.quantized(value, *entry["quantization"])
            interpreter.set_tensor(entry["index"], value.astype(entry["dtype"]))
        interpreter.invoke()
        for name, index in outputs.items():
            value = interpreter.get_tensor(index)
            found[name].append(dequantize(value, details[index]))
    steps = {n: float(details[i]["quantization"][0]) for n, i in outputs.items()}
    return {name: np.concatenate(parts) for name, parts in found.items()}, steps


def against_keras(model, path, x):
    """Return the `Distance` of every output, in the order of their names."""
    got, steps = run_file(path, x)
    predicted = model.predict(x, verbose=0, batch_size=8)
    wanted = dict(zip(sorted(got), keras.tree.flatten(predicted), strict=True))
    return [_distance(wanted[n], got[n], steps[n]) for n in sorted(got)]


def _distance(wanted, got, step):
    rows = wanted.reshape(-1, wanted.shape[-1]).astype(np.float64)
    wrong = np.abs(rows - got.reshape(rows.shape))
    step = step or max(np.ptp(np.append(rows, 0.0)), 1e-30) / 255
    with np.errstate(divide="ignore", invalid="ignore"):
        sqnr = 10 * np.log10((rows**2).sum(axis=0) / (wrong**2).sum(axis=0))
    sqnr[(wrong == 0).all(axis=0)] = np.inf
    return Distance(sqnr, wrong.max(axis=0) / step, wanted, got)
