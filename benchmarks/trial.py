"""One trial: a model is compressed, exported, loaded, run and compared with Keras."""

import re
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import qsparse
from qsparse.callbacks import PruneThenQuantize
from qsparse.tflite_export.files.model_file import ModelFile
from qsparse.tflite_export.runtime.interpreter import Interpreter, plain_interpreter

Arrays = dict[str, np.ndarray]
STEPS = 3
# Masks are final and int8 begins at step 1, so that two steps train both.
SCHEDULE = {"prune_from": 0, "prune_until": 1, "quantize_from": 1}
HELD_BACK = 32
BATCH = 16
# What only developers can read: MLIR's text, or the inside of a Python program.
_RAW = re.compile(
    r"loc\(|error: '|<unknown>|'tfl\.\w+' op|Ref:|Traceback|0x[0-9a-f]{6,}|\.cc:\d|"
    r"StatefulPartitionedCall|Please report this|FuncGraph|colocated|"
    r"zip\(\)|NoneType|has no attribute|not understood|\w+\(\) (got|missing|takes)"
)
# True of every trial, and so of no model.
_OF_THE_TRIAL = "Training makes 3 steps"
_CLEAR = (ValueError, TypeError, RuntimeError, NotImplementedError, ImportError)
_LONGEST_MESSAGE = 700


@dataclass(frozen=True)
class Case:
    """A model to try, and what to train and calibrate it on.

    Attributes:
        model: compiled; its outputs are one tensor, logits of `labels`.
        inputs: by input name, in the order of the model's inputs.
        labels: int (samples,).
        layer: name of the layer under trial, where there is one.
    """

    model: keras.Model
    inputs: Arrays
    labels: np.ndarray
    layer: str = ""
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass
class Trial:
    """What became of one model; `stage` is where it stands, or where it failed."""

    stage: str = "build"
    error: Exception | None = None
    warnings: list[str] = field(default_factory=list)
    pruned: list[str] = field(default_factory=list)
    unpruned: dict[str, str] = field(default_factory=dict)
    zeros: dict[str, float] = field(default_factory=dict)
    int8_ops: list[str] = field(default_factory=list)
    float_ops: list[str] = field(default_factory=list)
    int8_share: float = float("nan")
    sqnr_db: float = float("nan")
    same_as_stock: bool = False

    @property
    def message(self) -> str:
        """What the user reads, in one line; empty if nothing failed."""
        if self.error is None:
            return ""
        return f"{type(self.error).__name__}: {_one_line(self.error)}"

    @property
    def is_clear(self) -> bool:
        """Whether the message is one a user can act on."""
        return (
            isinstance(self.error, _CLEAR)
            and not isinstance(self.error, UnicodeError)
            and not _RAW.search(str(self.error))
            and len(self.message) <= _LONGEST_MESSAGE
        )


def attempt(build: Callable[[], Case]) -> Trial:
    """Carries out one trial; exceptions become part of the result."""
    trial = Trial()
    keras.backend.clear_session(free_memory=False)
    keras.utils.set_random_seed(0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            case = build()
            _carry_out(case, trial)
        except Exception as error:
            trial.error = error
    trial.warnings = _ours(caught)
    return trial


def _ours(caught: list[warnings.WarningMessage]) -> list[str]:
    """Returns what qsparse warned of; libraries' deprecations are no concern here."""
    foreign = (DeprecationWarning, PendingDeprecationWarning, FutureWarning)
    found = [
        w
        for w in caught
        if not issubclass(w.category, foreign)
        and not str(w.message).startswith(_OF_THE_TRIAL)
    ]
    return list(dict.fromkeys(_one_line(w.message) for w in found))


def _one_line(message: object) -> str:
    """Returns a text in one line, without the folder the file lay in."""
    text = re.sub(r"\S*/(?=model\.tflite)", "", str(message))
    return " ".join(re.sub(r"\x1b\[\d*m", "", text).split())


def _carry_out(case: Case, trial: Trial) -> None:
    train = {name: array[:-HELD_BACK] for name, array in case.inputs.items()}
    held_back = {name: array[-HELD_BACK:] for name, array in case.inputs.items()}
    model, labels = case.model, case.labels[:-HELD_BACK]
    trial.stage = "train"
    callback = PruneThenQuantize(**(SCHEDULE | case.settings))
    model.fit(
        _as_given(model, train),
        labels,
        batch_size=BATCH,
        epochs=1,
        steps_per_epoch=STEPS,
        verbose=0,
        callbacks=[callback],
    )
    coverage = qsparse.coverage(model)
    trial.pruned = [row.path for row in coverage.layers if not row.reason]
    trial.unpruned = {row.path: row.reason for row in coverage.layers if row.reason}
    trial.stage = "predict"
    wanted = np.asarray(model.predict(_as_given(model, held_back), BATCH, verbose=0))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        trial.stage = "export"
        report = qsparse.export(model, path, _as_given(model, train))
        trial.zeros = {match.path: match.sparsity for match in report.layers}
        trial.int8_share = report.int8_share
        trial.stage = "load"
        file = ModelFile(path)
        trial.int8_ops, trial.float_ops = _ops(file)
        ours, stock = Interpreter(path), plain_interpreter(path)
        trial.stage = "run"
        got = run(ours, file, held_back)
        trial.same_as_stock = bool((got == run(stock, file, held_back)).all())
    trial.sqnr_db = sqnr_db(wanted, got)
    trial.stage = "done"


def _as_given(model: keras.Model, arrays: Arrays) -> Any:
    """Returns arrays in the form that the model's inputs have."""
    values = [
        tf.constant(array) if array.dtype == object else array
        for array in arrays.values()
    ]
    if len(values) == 1:
        return values[0]
    if isinstance(model.input, dict):
        return dict(zip(arrays, values, strict=True))
    return values


def _ops(file: ModelFile) -> tuple[list[str], list[str]]:
    """Returns the kinds of op that compute in int8 or integers, and in float.

    What only converts between the two is neither.
    """
    kinds: dict[bool, set[str]] = {False: set(), True: set()}
    for op in file.ops:
        if op.name in ("QUANTIZE", "DEQUANTIZE"):
            continue
        is_float = any(
            np.issubdtype(tensor.dtype, np.floating)
            for tensor in op.outputs
            if tensor.dtype != object
        )
        kinds[is_float].add(op.name)
    return sorted(kinds[False]), sorted(kinds[True])


def run(interpreter: Any, file: ModelFile, arrays: Arrays) -> np.ndarray:
    """Returns what a file makes of samples, one by one, in float32.

    Args:
        interpreter: one that loaded the file.
        file: the same file, for the names of its inputs.
        arrays: by input name, the samples first.
    """
    interpreter.allocate_tensors()
    by_index = {d["index"]: d for d in interpreter.get_input_details()}
    names, _ = file.signature()
    if len(names) == len(arrays) == 1:  # a layer that does nothing renames its input
        arrays = dict(zip(names, arrays.values(), strict=True))
    if not any(re.sub(r"\W", "_", name) in names for name in arrays):
        raise RuntimeError(f"the file has the inputs {list(names)}, not {list(arrays)}")
    (output,) = interpreter.get_output_details()
    found = []
    for sample in range(HELD_BACK):
        for name, array in arrays.items():
            # An input that the model does not use is not in the file.
            entry = by_index.get(names.get(re.sub(r"\W", "_", name), -1))
            if entry is not None:
                value = array[sample : sample + 1]
                interpreter.set_tensor(entry["index"], _stored(value, entry))
        interpreter.invoke()
        value = interpreter.get_tensor(output["index"])
        scale, zero = output["quantization"]
        found.append((value.astype(np.float32) - zero) * (scale or 1.0))
    return np.concatenate(found)


def _stored(value: np.ndarray, entry: dict[str, Any]) -> np.ndarray:
    scale, zero = entry["quantization"]
    if entry["dtype"] == np.int8 and scale:
        return np.clip(np.rint(value / scale) + zero, -128, 127).astype(np.int8)
    return value.astype(entry["dtype"])


def sqnr_db(wanted: np.ndarray, got: np.ndarray) -> float:
    """Returns the ratio of signal to quantization noise in dB; inf if equal."""
    wanted, got = wanted.astype(np.float64), got.astype(np.float64)
    noise = np.sum((wanted - got) ** 2)
    signal = np.sum(wanted**2)
    return float(10 * np.log10(signal / noise)) if noise else float("inf")
