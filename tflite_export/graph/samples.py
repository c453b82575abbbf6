"""Representative data in any form Keras users have it -> static batches."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from qsparse.engine.feed import read

FEW_SAMPLES = 32
_ENOUGH = 128  # samples of which some can be spared to judge


@dataclass(frozen=True)
class Samples:
    """Representative samples, cut to the batch the file will have.

    Attributes:
        specs: input name -> static spec, in the order of the flattened structure.
        structure: what the model's call takes, the leaves being input names.
        batches: per batch one array per input, shape and dtype as `specs`.
        labels: what the data gave beside the features, one entry per sample of the
            batches; None if it gave nothing, or no single array.
    """

    specs: dict[str, tf.TensorSpec]
    structure: Any
    batches: list[list[np.ndarray]]
    labels: np.ndarray | None = None

    @property
    def count(self) -> int:
        """Number of samples in the batches."""
        return sum(len(batch[0]) for batch in self.batches)

    def part(self, indices: Sequence[int]) -> "Samples":
        """Returns the samples of some of the batches."""
        batches = [self.batches[i] for i in indices]
        labels = self.labels
        if labels is not None:
            size = len(self.batches[0][0])
            rows = [labels[i * size : (i + 1) * size] for i in indices]
            labels = np.concatenate(rows) if rows else labels[:0]
        return replace(self, batches=batches, labels=labels)

    def hold_back(self, calibrate: int, verify: int) -> "tuple[Samples, Samples]":
        """Splits the samples in those that ranges come from, and those that judge.

        One batch in eight is held back, so that a file is judged on samples its
        ranges have not seen; of fewer than 128 samples none can be spared.

        Args:
            calibrate: most samples of the first part.
            verify: samples wanted in the second; where too few can be held back, it
                is filled up from the first.
        """
        total, size = len(self.batches), len(self.batches[0][0])
        wanted = max(verify // size, 1)
        share = 8 if self.count >= _ENOUGH else total + 1
        held = list(range(share - 1, total, share))[:wanted]
        rest = [i for i in range(total) if i not in set(held)]
        rest = rest[: max(calibrate // size, 1)]
        fill = rest[: max(wanted - len(held), 0)]
        return self.part(rest), self.part(held + fill)

    def few(self) -> Iterator[str]:
        """Yields a sentence if ranges from so few samples are often too narrow."""
        if self.count < FEW_SAMPLES:
            yield (
                f"representative_data holds {self.count} samples; ranges found on "
                f"fewer than {FEW_SAMPLES} are often too narrow. Give 100 to 500 "
                "typical ones."
            )

    def constant(self) -> Iterator[str]:
        """Yields a sentence for each float input that never changes."""
        for position, name in enumerate(self.specs):
            arrays = [batch[position] for batch in self.batches]
            first = arrays[0].flat[0] if arrays[0].size else 0
            if arrays[0].dtype.kind == "f" and all((a == first).all() for a in arrays):
                yield (
                    f"representative_data of input {name!r} are {first:g} everywhere: "
                    "neither a range nor an error can be found on them. Give real "
                    "samples, scaled as in training."
                )


def collect(
    model: keras.Model, data: Any, *, batch_size: int = 1, limit: int = 256
) -> Samples:
    """Reads at most `limit` samples and checks them against the model's inputs.

    Args:
        model: a built Keras model.
        data: array, list/tuple/dict of arrays, or an iterable of batches which are
            features or `(features, labels, ...)`.
        batch_size: static batch of the exported file.
        limit: most samples to read.

    Raises:
        ValueError: no samples, wrong number of inputs, wrong shape, NaN, or a model
            that is not built or takes strings.
        TypeError: `data` is none of the allowed forms.
    """
    if not model.built:
        raise ValueError(
            f"model {model.name!r} is not built, so it has no weights to export. "
            "Train it, load it, or call it once on a batch first."
        )
    _refuse_strings(model)
    feed = read(model, data, limit, "representative_data")
    arrays, known, count = feed.arrays, feed.labels, feed.count
    if count < batch_size:
        fill = np.arange(batch_size) % count
        arrays = [array[fill] for array in arrays]
        known = None if known is None else known[fill]
        count = batch_size
    specs = {
        name: tf.TensorSpec((batch_size, *array.shape[1:]), array.dtype, name)
        for name, array in zip(keras.tree.flatten(feed.structure), arrays, strict=True)
    }
    batches = [
        [array[start : start + batch_size] for array in arrays]
        for start in range(0, count - batch_size + 1, batch_size)
    ]
    used = len(batches) * batch_size
    labels = None if known is None else known[:used]
    return Samples(specs, feed.structure, batches, labels)


def _refuse_strings(model: keras.Model) -> None:
    for tensor in getattr(model, "inputs", None) or []:
        if keras.backend.standardize_dtype(tensor.dtype) == "string":
            raise ValueError(
                f"input {tensor.name!r} takes strings, which LiteRT does not. Apply "
                "the layer that reads them (StringLookup, TextVectorization) to the "
                "data before the model, and export the model that takes its output."
            )
