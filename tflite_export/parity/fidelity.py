"""How far a file is from the Keras model it was made of, as a user would see it.

Everything else that is compared shares code with the export: the fake-quantized graph
has been through the same passes as the file. Here the reference is what the model
itself predicts, so nothing that a pass spoils stays hidden.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from qsparse.tflite_export.files.model_file import ModelFile
from qsparse.tflite_export.files.model_parts import Op

# 8 bits give 30 to 45 dB at the end of most networks.
USUAL_SQNR = 25.0
# Less than a tenth of the power is noise: the file computes something else.
LEAST_SQNR = 10.0
_EXACT = 200.0  # dB; stands for infinity, which JSON has no word for
FEW_STEPS = 4
_LEAST_AGREEMENT = 0.99
_GREATEST_LOSS = 0.01  # of accuracy: one point
_FEW_FLIPS = 1  # samples that say nothing about a share
_PROBABILITY_STEP = 1.01 / 255


@dataclass(frozen=True)
class Fidelity:
    """One output of a file beside the same output of the Keras model.

    Attributes:
        output: name of the output.
        samples: samples both were run on.
        step: one step (LSB) of the output in the file; of an output that never was
            int8, a 255th of the range it takes.
        sqnr: power of the model's output over that of the difference, in dB; at most
            200.
        max_lsb: greatest difference, in steps.
        mean_lsb: mean difference, in steps.
        channels: length of the last axis.
        worst_channel: the channel with the greatest mean difference.
        worst_lsb: that mean difference, in steps.
        worst_sqnr: SQNR of that channel, in dB.
        coarse: channels whose whole span is under four steps, so that the file knows
            them as three values or fewer.
        agreement: share of greatest values in the same place; None if the output has
            one value per sample.
        classifies: whether the greatest value is what the output is about.
        accuracy: share of right classes of the Keras model; None without labels.
        file_accuracy: the same of the file.
    """

    output: str
    samples: int
    step: float
    sqnr: float
    max_lsb: float
    mean_lsb: float
    channels: int
    worst_channel: int
    worst_lsb: float
    worst_sqnr: float
    coarse: tuple[int, ...]
    agreement: float | None
    classifies: bool
    accuracy: float | None
    file_accuracy: float | None

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as JSON-ready values."""
        return asdict(self)

    def __str__(self) -> str:
        parts = [
            f"SQNR {self.sqnr:.1f} dB",
            f"at most {self.max_lsb:.3g} LSB, {self.mean_lsb:.2g} on average",
        ]
        if self.channels > 1:
            parts.append(
                f"channel {self.worst_channel} is furthest off ({self.worst_lsb:.2g} "
                f"LSB, {self.worst_sqnr:.1f} dB)"
            )
        if self.agreement is not None and self.classifies:
            parts.append(f"classes agree {self.agreement:.1%}")
        if self.accuracy is not None:
            parts.append(f"accuracy {self.accuracy:.1%} -> {self.file_accuracy:.1%}")
        return f"{'; '.join(parts)} ({self.samples} samples)"

    def warnings(self) -> Iterator[str]:
        """Yields what a user should know before trusting the output, with the fix."""
        if self.coarse:
            shown = ", ".join(map(str, self.coarse[:5]))
            more = ", ..." if len(self.coarse) > 5 else ""
            yield (
                f"output {self.output!r}: channels [{shown}{more}] of {self.channels} "
                f"span under {FEW_STEPS} of its steps (one step is "
                f"{self.step:.4g}), because other channels are far larger. Give them "
                "an output of their own, or bring all channels to one size in the "
                "model."
            )
        if self.sqnr < USUAL_SQNR:
            yield (
                f"output {self.output!r} is only {self.sqnr:.1f} dB from the Keras "
                f"model ({USUAL_SQNR:.0f} and more are usual in int8). `qsparse "
                "verify` shows the layer where it begins; train with qsparse, or "
                "exclude that layer."
            )
        flips = 0 if self.agreement is None else (1 - self.agreement) * self.samples
        if self.classifies and flips > _FEW_FLIPS:
            if self.agreement is not None and self.agreement < _LEAST_AGREEMENT:
                yield (
                    f"output {self.output!r}: the file names the class that the Keras "
                    f"model names in {self.agreement:.1%} of {self.samples} samples. "
                    "Train longer with int8 fake quantization, or calibrate on more "
                    "samples."
                )
        if self.accuracy is not None and self.file_accuracy is not None:
            lost = round(self.accuracy - self.file_accuracy, 9)  # 1 - 0.99 > 0.01
            if lost > _GREATEST_LOSS and lost * self.samples > _FEW_FLIPS:
                yield (
                    f"output {self.output!r}: accuracy falls from {self.accuracy:.1%} "
                    f"to {self.file_accuracy:.1%} on {self.samples} samples. Train "
                    "longer with int8 fake quantization, or calibrate on more samples."
                )

    def failure(self, least: float) -> str | None:
        """Returns why the file must not be trusted, or None.

        Args:
            least: SQNR in dB that is still accepted.
        """
        if self.sqnr >= least:
            return None
        return (
            f"output {self.output!r} of the file is {self.sqnr:.1f} dB from what the "
            f"Keras model predicts, at most {self.max_lsb:.0f} steps; the floor is "
            f"{least:g} dB (`min_sqnr`)."
        )


def judge(
    output: str,
    reference: np.ndarray,
    got: np.ndarray,
    step: float | None,
    labels: np.ndarray | None = None,
    classifies: bool = False,
) -> Fidelity:
    """Compares one output.

    Args:
        output: its name.
        reference: what the Keras model predicts, samples first.
        got: what the file computes, of the same shape.
        step: see `output_steps`; None for one that never was int8.
        labels: labels; used if they are classes of this output.
        classifies: whether the greatest value is known to be what counts; labels
            that are classes say so too.
    """
    reference = np.asarray(reference, np.float64)
    got = np.asarray(got, np.float64).reshape(reference.shape)
    channels = reference.shape[-1] if reference.ndim > 1 else 1
    wanted, found = reference.reshape(-1, channels), got.reshape(-1, channels)
    known = step is not None
    size = (
        step if step is not None else float(np.ptp(wanted)) / 255 if len(wanted) else 0
    )
    size = size or 1.0
    off = np.abs(found - wanted) / size
    by_channel = off.mean(axis=0)
    worst = int(by_channel.argmax())
    # A probability is as good as its absolute resolution; a rare class may never rise.
    coarse = known and size > _PROBABILITY_STEP and channels > 1
    classes = _classes(reference, labels)
    places = reference.argmax(-1), got.argmax(-1)
    several = reference.ndim > 1 and channels > 1
    return Fidelity(
        output,
        len(reference),
        float(size),
        _sqnr(wanted, found),
        float(off.max(initial=0)),
        float(off.mean()),
        channels,
        worst,
        float(by_channel[worst]),
        _sqnr(wanted[:, worst], found[:, worst]),
        tuple(coarse_channels(wanted, size).tolist()) if coarse else (),
        float(np.mean(places[0] == places[1])) if several else None,
        several and (classifies or classes is not None),
        None if classes is None else float(np.mean(places[0] == classes)),
        None if classes is None else float(np.mean(places[1] == classes)),
    )


def coarse_channels(values: np.ndarray, step: float) -> np.ndarray:
    """Returns the columns whose span is under four steps; constant ones are fine."""
    span = np.ptp(values, axis=0) if len(values) else np.zeros(values.shape[-1])
    return np.flatnonzero((span > 0) & (span < FEW_STEPS * step))


def output_steps(file: ModelFile) -> dict[str, float | None]:
    """Returns the int8 step of every output of a file.

    That of an output which is read back to float is the step it had before; None if
    it never was int8, or is put together from several.
    """
    made_by = {out.index: op for op in file.ops for out in op.outputs}
    steps = {}
    for name, index in file.signature()[1].items():
        tensor = file.tensors[index]
        op = made_by.get(index)
        if op is not None and op.name == "DEQUANTIZE" and op.inputs[0] is not None:
            tensor = op.inputs[0]
        steps[name] = float(tensor.scales[0]) if tensor.scales.size == 1 else None
    return steps


def classifying_outputs(file: ModelFile) -> set[str]:
    """Returns the outputs that a softmax computes."""
    made_by = {out.index: op for op in file.ops for out in op.outputs}
    found = set()
    for name, index in file.signature()[1].items():
        op: Op | None = made_by.get(index)
        while op is not None and op.name in ("DEQUANTIZE", "QUANTIZE", "RESHAPE"):
            source = op.inputs[0]
            op = None if source is None else made_by.get(source.index)
        if op is not None and op.name in ("SOFTMAX", "LOG_SOFTMAX"):
            found.add(name)
    return found


def _sqnr(reference: np.ndarray, got: np.ndarray) -> float:
    signal = float(np.square(reference).sum())
    noise = float(np.square(got - reference).sum())
    if noise == 0:
        return _EXACT
    if signal == 0:
        return -_EXACT
    return float(np.clip(10 * np.log10(signal / noise), -_EXACT, _EXACT))


def _classes(reference: np.ndarray, labels: np.ndarray | None) -> np.ndarray | None:
    """Returns labels as the places of the right class, or None if they are not."""
    if labels is None or reference.ndim < 2 or reference.shape[-1] < 2:
        return None
    if labels.shape == reference.shape:  # one-hot
        hot = ((labels == 0) | (labels == 1)).all() and (labels.sum(-1) == 1).all()
        return labels.argmax(-1) if hot else None
    if labels.dtype.kind not in "iu":
        return None
    if labels.shape == (*reference.shape[:-1], 1):
        labels = labels[..., 0]
    inside = labels.size and 0 <= labels.min() and labels.max() < reference.shape[-1]
    return labels if labels.shape == reference.shape[:-1] and inside else None
