"""Runs a model, its fake-quantized graph and its file on the same samples."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from qsparse.tflite_export.graph.run import runnable
from qsparse.tflite_export.parity.beside_keras import predict, trained_on_classes
from qsparse.tflite_export.parity.fidelity import (
    Fidelity,
    classifying_outputs,
    judge,
    output_steps,
)
from qsparse.tflite_export.parity.file_run import FileRun
from qsparse.tflite_export.parity.pairing import Pair
from qsparse.tflite_export.runtime.interpreter import Interpreter, plain_interpreter

SIDES = {
    "keras": "Keras model, as it predicts",
    "fake_quant": "fake-quantized graph",
    "litert": "file in LiteRT (XNNPACK)",
    "delegate": "file with our delegate",
}


@dataclass(frozen=True)
class Side:
    """One way to compute an output.

    Attributes:
        side: one of `SIDES`.
        output: name of the output.
        samples: samples it was run on.
        accuracy: share of right classes; None without labels that are classes.
        mean_error: mean absolute difference from labels that are values; else None.
        max_error: greatest such difference; else None.
        same_class: share of greatest values at the same place as in the Keras model;
            None if the output has one value per sample.
        mean_off: mean absolute difference from the Keras model.
        max_off: greatest such difference.
    """

    side: str
    output: str
    samples: int
    accuracy: float | None
    mean_error: float | None
    max_error: float | None
    same_class: float | None
    mean_off: float
    max_off: float

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as JSON-ready values."""
        return asdict(self)


def compare_sides(
    pair: Pair, labels: dict[str, np.ndarray]
) -> tuple[list[Side], list[Fidelity], int]:
    """Runs all samples of a pair on every side.

    Args:
        pair: the model and the file.
        labels: output -> labels, samples first: integers of one dimension less than
            the output (classes), or values of its shape.

    Returns:
        One entry per side and output; one per output on how far the file is from the
        Keras model; and how many values our delegate computes in another way than
        XNNPACK, its own choice of layers and all layers taken.

    Raises:
        ValueError: labels of a wrong shape, or LiteRT cannot run the file.
    """
    contents = pair.file.to_bytes()
    stock = FileRun(plain_interpreter(contents), pair)
    ours = FileRun(Interpreter(contents), pair)
    eager = FileRun(Interpreter(contents, min_gain=0), pair)
    graph = runnable(pair.graph)
    values: dict[str, dict[str, list[np.ndarray]]] = {
        side: {name: [] for name in pair.graph.outputs}
        for side in SIDES
        if side != "keras"
    }
    wrong = 0
    for batch in pair.samples.batches:
        fed = stock(batch)
        raw = stock.outputs()
        for run in (ours, eager):
            run(batch)
            wrong += sum(
                int(np.count_nonzero(array != raw[name]))
                for name, array in run.outputs().items()
            )
        of_graph = graph(*fed)
        computed = {
            "fake_quant": {n: t.numpy() for n, t in of_graph.items()},
            "litert": stock.values(),
            "delegate": ours.values(),
        }
        for side, outputs in computed.items():
            for name, array in outputs.items():
                values[side][name].append(np.asarray(array))
    joined = {"keras": predict(pair.model, pair.samples)} | {
        side: {name: np.concatenate(parts) for name, parts in outputs.items()}
        for side, outputs in values.items()
    }
    return list(_judge(joined, labels)), list(_fidelity(pair, joined, labels)), wrong


def _fidelity(
    pair: Pair,
    values: dict[str, dict[str, np.ndarray]],
    labels: dict[str, np.ndarray],
) -> Iterator[Fidelity]:
    steps, softmax = output_steps(pair.file), classifying_outputs(pair.file)
    known = len(steps) == 1 and trained_on_classes(pair.model)
    for name, reference in values["keras"].items():
        given = labels.get(name)
        yield judge(
            name,
            reference,
            values["litert"][name],
            steps[name],
            None if given is None else _repeated(given, len(reference)),
            known or name in softmax,
        )


def _repeated(labels: np.ndarray, count: int) -> np.ndarray:
    """Returns as many labels as there are results.

    A batch greater than the data is filled with copies, a limit cuts it.
    """
    return labels[np.arange(count) % max(len(labels), 1)]


def _judge(
    values: dict[str, dict[str, np.ndarray]], labels: dict[str, np.ndarray]
) -> Iterator[Side]:
    for name, reference in values["keras"].items():
        rate = _labelled(name, reference, labels.get(name))
        for side, outputs in values.items():
            got = outputs[name].astype(np.float64)
            off = np.abs(got - reference)
            classes = got.ndim > 1 and got.shape[-1] > 1
            same = got.argmax(-1) == reference.argmax(-1) if classes else None
            yield Side(
                side,
                name,
                len(got),
                *rate(got),
                None if same is None else float(same.mean()),
                float(off.mean()),
                float(off.max(initial=0)),
            )


def _labelled(
    name: str, reference: np.ndarray, labels: np.ndarray | None
) -> Callable[[np.ndarray], tuple[float | None, float | None, float | None]]:
    """Returns what computes (accuracy, mean error, greatest error) of an output."""
    if labels is None:
        return lambda got: (None, None, None)
    labels = _repeated(labels, len(reference))
    if labels.dtype.kind in "iu" and labels.shape == reference.shape[:-1]:
        if reference.shape[-1] > 1:
            return lambda got: (float((got.argmax(-1) == labels).mean()), None, None)
    if labels.size != reference.size:
        raise ValueError(
            f"the labels of output {name!r} have shape {labels.shape}; give integers "
            f"of shape {reference.shape[:-1]} (classes) or values of shape "
            f"{reference.shape}."
        )
    wanted = labels.reshape(reference.shape).astype(np.float64)

    def error(got: np.ndarray) -> tuple[None, float, float]:
        off = np.abs(got - wanted)
        return None, float(off.mean()), float(off.max(initial=0))

    return error
