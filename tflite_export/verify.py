"""`qsparse verify`: whether a file computes what its model computes, and where not."""

import os
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from qsparse.tflite_export.advice import advise
from qsparse.tflite_export.files.model_file import ModelFile
from qsparse.tflite_export.files.model_parts import CLAIMABLE
from qsparse.tflite_export.files.source import check_order
from qsparse.tflite_export.parity.difference import (
    ROUNDING_LSB,
    TensorParity,
    first_growth,
)
from qsparse.tflite_export.parity.fidelity import LEAST_SQNR, Fidelity
from qsparse.tflite_export.parity.kept_weights import LayerWeights, compare_weights
from qsparse.tflite_export.parity.outputs import count_macs, float_ops
from qsparse.tflite_export.parity.pairing import Pair, load_keras, pair, precision_of
from qsparse.tflite_export.parity.sides import Side, compare_sides
from qsparse.tflite_export.parity.tensors import compare_tensors
from qsparse.tflite_export.parity.trained import LOST
from qsparse.tflite_export.parity.unlike_training import unlike_training
from qsparse.tflite_export.runtime.interpreter import read_plan

# LiteRT's kernels stay within 1 LSB; an op further off than this is another one.
_BROKEN_LSB = 4


@dataclass(frozen=True)
class Work:
    """Where the multiply-accumulates of one invocation are done.

    Attributes:
        macs: all of them.
        int8: share that multiplies integers, 0 to 1.
        precision: what the file computes in: "int8" or "a16w8".
        claimable: share in int8 layers of a kind our delegate has kernels for.
        claimed: share in layers our delegate takes on this machine, because it expects
            to gain.
        float_ops: ops with MACs that are not integers, and loops.
        advice: what to know before speed is expected of its zeros on this machine,
            or "".
    """

    macs: int
    int8: float
    precision: str
    claimable: float
    claimed: float
    float_ops: list[str]
    advice: str


@dataclass(frozen=True)
class Verification:
    """What `verify_file` found.

    Attributes:
        model: the model, for headings.
        file: the file.
        size_bytes: its size.
        samples: samples the tensors were compared on.
        tensors: one entry per shared integer tensor, in order of execution.
        first_growth: name of the tensor at which the difference first grows by more
            than one LSB, see `qsparse.tflite_export.parity.difference.first_growth`; or
            None.
        weights: one entry per layer with weights.
        sides: accuracy and differences of the outputs.
        fidelity: how far each output of the file is from the Keras model.
        delegate_differences: output values our delegate computes in another way than
            XNNPACK.
        changed_ranges: trained ranges that are not those of the file.
        work: count_macs in MACs.
        max_lsb: bound on the accumulated difference, or None.
        min_sqnr: least SQNR of an output against the Keras model, in dB.
        data_warnings: what makes the data a poor proof.
    """

    model: str
    file: str
    size_bytes: int
    samples: int
    tensors: list[TensorParity]
    first_growth: str | None
    weights: list[LayerWeights]
    sides: list[Side]
    fidelity: list[Fidelity]
    delegate_differences: int
    changed_ranges: list[str]
    work: Work
    max_lsb: float | None
    min_sqnr: float
    data_warnings: list[str]

    @property
    def growth(self) -> TensorParity | None:
        """The entry of `first_growth`."""
        found = (t for t in self.tensors if t.tensor == self.first_growth)
        return next(found, None)

    @property
    def inexact(self) -> list[TensorParity]:
        """Tensors whose op is off by more than rounding, greatest difference first."""
        bad = [t for t in self.tensors if t.local.max_lsb > ROUNDING_LSB]
        return sorted(bad, key=lambda t: -t.local.max_lsb)

    @property
    def greatest_lsb(self) -> int:
        """Greatest accumulated difference of any tensor."""
        return max((t.accumulated.max_lsb for t in self.tensors), default=0)

    @property
    def failures(self) -> list[str]:
        """The checks that failed, one sentence each."""
        found = [why for f in self.fidelity if (why := f.failure(self.min_sqnr))]
        for row in self.weights:
            if row.state == LOST and row.pattern:
                found.append(
                    f"the file does not have the weights of pruned layer {row.layer}."
                )
            if row.lost_zeros:
                found.append(
                    f"{row.layer}: {row.lost_zeros} pruned weights are not zero in the "
                    "file."
                )
            if row.changed and row.compressed:
                found.append(
                    f"{row.layer}: {row.changed} int8 weights are not the trained ones."
                )
        for tensor in self.changed_ranges:
            found.append(f"{tensor}: the file has another range than training gave it.")
        if self.delegate_differences:
            found.append(
                f"our delegate differs from XNNPACK in {self.delegate_differences} "
                "output values."
            )
        for entry in self.inexact:
            if entry.local.max_lsb > _BROKEN_LSB:
                found.append(
                    f"{entry.label}: {entry.op} alone is {entry.local.max_lsb} LSB off."
                )
        if self.max_lsb is not None and self.greatest_lsb > self.max_lsb:
            where = max(self.tensors, key=lambda t: t.accumulated.max_lsb)
            found.append(
                f"{where.label}: {self.greatest_lsb} LSB off, more than the "
                f"{self.max_lsb:g} allowed."
            )
        return found

    @property
    def warnings(self) -> list[str]:
        """What to know before the file is trusted, one sentence each."""
        doubts = [text for entry in self.fidelity for text in entry.warnings()]
        return doubts + self.data_warnings

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as JSON-ready values."""
        lists = {
            "tensors": [entry.to_dict() for entry in self.tensors],
            "weights": [entry.to_dict() for entry in self.weights],
            "sides": [entry.to_dict() for entry in self.sides],
            "fidelity": [entry.to_dict() for entry in self.fidelity],
            "work": vars(self.work),
        }
        derived = {
            "greatest_lsb": self.greatest_lsb,
            "failures": self.failures,
            "warnings": self.warnings,
        }
        return vars(self) | lists | derived


def verify_file(
    model: keras.Model | str | os.PathLike,
    path: str | os.PathLike,
    data: Any,
    labels: np.ndarray | dict[str, np.ndarray] | None = None,
    *,
    samples: int = 32,
    accuracy_samples: int = 1000,
    max_lsb: float | None = None,
    min_sqnr: float = LEAST_SQNR,
) -> Verification:
    """Compares a file with the model it was exported from, tensor by tensor.

    Args:
        model: the model, or its .keras file.
        path: the .tflite file.
        data: inputs, in any form `qsparse.export` takes; an array or dict of arrays
            if there are labels.
        labels: labels of the only output, or output name -> labels: integer classes,
            one per position, or values of the output's shape.
        samples: most samples the tensors are compared on.
        accuracy_samples: most samples the outputs are compared on.
        max_lsb: a greater accumulated difference of any tensor is a failure.
        min_sqnr: an output further than this from the Keras model is a failure, in dB;
            see `qsparse.export`.

    Returns:
        What was found; `failures` lists what is wrong.

    Raises:
        ValueError: an argument cannot be used, or the model and the file do not
            belong together.
        FileNotFoundError: no such file.
    """
    for name, value in (("samples", samples), ("accuracy_samples", accuracy_samples)):
        if not isinstance(value, int | np.integer) or value < 1:
            raise ValueError(f"{name} must be a positive integer, got {value!r}.")
    if not isinstance(model, keras.Model):
        check_order(model, path)
    file = ModelFile(path)
    loaded = model if isinstance(model, keras.Model) else load_keras(os.fspath(model))
    both = pair(loaded, file, data, max(samples, accuracy_samples))
    weights = compare_weights(both)
    sides, fidelity, wrong = compare_sides(both, _by_output(both, labels))
    batch_size = len(both.samples.batches[0][0])
    batches = both.samples.batches[: max(1, samples // batch_size)]
    tensors = compare_tensors(both, batches)
    growth = first_growth(tensors)
    return Verification(
        loaded.name if isinstance(model, keras.Model) else os.fspath(model),
        os.fspath(path),
        os.path.getsize(path),
        len(batches) * batch_size,
        tensors,
        None if growth is None else growth.tensor,
        weights,
        sides,
        fidelity,
        wrong,
        both.changed_ranges,
        _work(file),
        max_lsb,
        min_sqnr,
        [
            *unlike_training(both.graph, both.ranges, both.samples.batches),
            *both.samples.constant(),
        ],
    )


def _by_output(
    both: Pair, labels: np.ndarray | dict[str, np.ndarray] | None
) -> dict[str, np.ndarray]:
    outputs = list(both.graph.outputs)
    if labels is None:
        return {}
    if not isinstance(labels, dict):
        if len(outputs) > 1:
            raise ValueError(
                f"the model has the outputs {outputs}; give labels as a dict by output."
            )
        labels = {outputs[0]: labels}
    if unknown := sorted(set(labels) - set(outputs)):
        raise ValueError(f"the model has no outputs {unknown}; it has {outputs}.")
    return {name: np.asarray(values) for name, values in labels.items()}


def _work(file: ModelFile) -> Work:
    macs, int8 = count_macs(file)
    layers = {op.index: op.macs for op, _ in file.int8_layers() if op.name in CLAIMABLE}
    content = file.to_bytes()
    plan = read_plan(content)
    advice = advise(content, plan)
    claimed = sum(layers.get(int(e["node"]), 0) for e in plan if e["claimed"])
    return Work(
        macs,
        int8,
        precision_of(file),
        sum(layers.values()) / macs if macs else 0.0,
        claimed / macs if macs else 0.0,
        float_ops(file),
        "" if advice is None else str(advice),
    )
