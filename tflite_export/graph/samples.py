"""Representative data in any form Keras users have it -> static batches."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

FEW_SAMPLES = 32
_ENOUGH = 128  # samples of which some can be spared to judge
_HOW = (
    "Give a numpy array, a list or dict of arrays (several inputs), or an iterable "
    "of batches such as a tf.data.Dataset."
)


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
            that is not built.
        TypeError: `data` is none of the allowed forms.
    """
    if not model.built:
        raise ValueError(
            f"model {model.name!r} is not built, so it has no weights to export. "
            "Train it, load it, or call it once on a batch first."
        )
    if data is None:
        raise TypeError(f"representative_data must not be None. {_HOW}")
    expected, names = _declared_inputs(model)
    chunks = []
    labels: list[np.ndarray] | None = []
    count = 0
    for features, target, whole in _feature_batches(data, expected):
        structure, flat = _match(model, features, expected, names)
        tensors = expected or [None] * len(flat)
        flat = [_as_batch(a, t, whole) for a, t in zip(flat, tensors, strict=True)]
        sizes = {len(array) for array in flat}
        if len(sizes) != 1:
            raise ValueError(
                "the inputs of representative_data hold different numbers of "
                f"samples: {sorted(sizes)}."
            )
        chunks.append([array[: limit - count] for array in flat])
        labels = _more_labels(labels, target, len(flat[0]), limit - count)
        count += len(chunks[-1][0])
        if count >= limit:
            break
    if not count:
        raise ValueError(f"representative_data is empty. {_HOW}")
    leaves = keras.tree.flatten(structure)
    arrays = [np.concatenate(parts) for parts in zip(*chunks, strict=True)]
    for name, array in zip(leaves, arrays, strict=True):
        if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
            raise ValueError(
                f"representative_data of input {name!r} holds NaN or infinite "
                "values; ranges cannot be calibrated on them."
            )
    known = np.concatenate(labels) if labels else None
    if count < batch_size:
        fill = np.arange(batch_size) % count
        arrays = [array[fill] for array in arrays]
        known = None if known is None else known[fill]
        count = batch_size
    specs = {
        name: tf.TensorSpec((batch_size, *array.shape[1:]), array.dtype, name)
        for name, array in zip(leaves, arrays, strict=True)
    }
    batches = [
        [array[start : start + batch_size] for array in arrays]
        for start in range(0, count - batch_size + 1, batch_size)
    ]
    used = len(batches) * batch_size
    return Samples(specs, structure, batches, None if known is None else known[:used])


def _more_labels(
    labels: list[np.ndarray] | None, target: Any, count: int, limit: int
) -> list[np.ndarray] | None:
    """Returns the labels so far and those of one more chunk; None if some have none."""
    if labels is None or target is None or not _is_array(target):
        return None
    target = np.asarray(target)
    if count == 1 and (not target.ndim or len(target) != 1):
        target = target[None]  # an unbatched dataset
    shapes = {part.shape[1:] for part in [*labels, target]}
    if not target.ndim or len(target) != count or len(shapes) > 1:
        return None
    return [*labels, target[:limit]]


def _declared_inputs(model: keras.Model) -> tuple[list | None, Any]:
    """Returns the symbolic inputs (flat) and their structure of names, if known."""
    inputs = getattr(model, "inputs", None)
    if not inputs:
        return None, None
    if isinstance(model, keras.Sequential):
        return list(inputs), identifiers([inputs[0].name])[0]
    declared = model.input
    if isinstance(declared, list | tuple) and len(declared) == 1:
        declared = declared[0]
    if isinstance(declared, Mapping):
        names = dict(zip(declared, identifiers(declared), strict=True))
    else:
        flat = [tensor.name for tensor in keras.tree.flatten(declared)]
        names = keras.tree.pack_sequence_as(declared, identifiers(flat))
    return keras.tree.flatten(declared), names


def identifiers(names: Iterable[Any]) -> list[str]:
    """Returns the names a file can have for inputs or outputs, each once.

    Args:
        names: what the model calls them. Another character than a letter, a digit or
            "_" becomes "_"; a name that is taken gets a number.
    """
    found: list[str] = []
    for name in names:
        plain = unique = re.sub(r"\W", "_", str(name))
        count = 0
        while unique in found:
            count += 1
            unique = f"{plain}_{count}"
        found.append(unique)
    return found


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype")


def _feature_batches(
    data: Any, expected: list | None
) -> Iterator[tuple[Any, Any, bool]]:
    """Yields (features, labels or None, came as one whole array) for every form."""
    if _is_array(data) or isinstance(data, Mapping):
        yield data, None, True
        return
    if isinstance(data, list | tuple):
        arrays = all(_is_array(value) for value in data)
        inputs = len(expected) if expected else None
        if arrays and data and inputs in (None, len(data)):
            yield (data if inputs != 1 else data[0]), None, True
            return
        if arrays and isinstance(data, tuple) and inputs == 1:
            yield data[0], data[1], True  # (features, labels)
            return
        if arrays and inputs and inputs > 1:
            raise ValueError(
                f"the model has {inputs} inputs but representative_data holds "
                f"{len(data)} arrays. Give one array per input."
            )
    elif isinstance(data, str | bytes) or not isinstance(data, Iterable):
        raise TypeError(
            f"representative_data must be arrays or an iterable of batches, got "
            f"{type(data).__name__}. {_HOW}"
        )
    for batch in data:
        # As in `model.fit`: a tuple is (features, labels, weights).
        pair = isinstance(batch, tuple) and batch
        labels = batch[1] if pair and len(batch) > 1 else None
        yield (batch[0] if pair else batch), labels, False


def _match(
    model: keras.Model, features: Any, expected: list | None, names: Any
) -> tuple[Any, list[np.ndarray]]:
    """Returns the structure of input names and the features flat in its order."""
    if expected is None:
        if isinstance(features, Mapping):
            structure: Any = dict(zip(features, identifiers(features), strict=True))
        elif isinstance(features, list | tuple):
            structure = [f"input_{i}" for i in range(len(features))]
        else:
            structure = "input"
        flat = keras.tree.flatten(features)
        return structure, [_plain(array) for array in flat]
    if isinstance(features, Mapping):
        keys = names if isinstance(names, Mapping) else None
        wanted = list(keys) if keys else [tensor.name for tensor in expected]
        missing = [key for key in wanted if key not in features]
        if missing:
            raise ValueError(
                f"representative_data lacks the inputs {missing}; model "
                f"{model.name!r} takes {wanted}, got {sorted(features)}."
            )
        order = keras.tree.flatten({k: k for k in keys}) if keys else wanted
        flat = [features[key] for key in order]
    else:
        flat = list(features) if isinstance(features, list | tuple) else [features]
    if len(flat) != len(expected):
        raise ValueError(
            f"model {model.name!r} has {len(expected)} inputs "
            f"({[t.name for t in expected]}) but representative_data has {len(flat)}."
        )
    return names, flat


def _plain(array: Any) -> np.ndarray:
    """Returns data of an undeclared input as the dtype Keras would see."""
    array = np.asarray(array)
    if array.dtype == np.int64:
        return array.astype(np.int32)
    if array.dtype in (np.float64, np.float16, np.uint8):
        return array.astype(np.float32)
    return array


def _as_batch(array: Any, tensor: Any, whole: bool) -> np.ndarray:
    """Returns `array` in the dtype of the input, its shape checked."""
    array = np.asarray(array)
    if tensor is None:
        return array
    shape = tuple(tensor.shape)
    if not whole and array.ndim == len(shape) - 1:
        array = array[None]  # an unbatched dataset
    fits = array.ndim == len(shape) and all(
        want in (None, have)
        for want, have in zip(shape[1:], array.shape[1:], strict=True)
    )
    if not fits:
        raise ValueError(
            f"representative_data for input {tensor.name!r} has shape "
            f"{array.shape}; the model takes {shape}, with the batch first."
            + (" Are these labels?" if array.ndim == 1 < len(shape) - 1 else "")
        )
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    if dtype == "string":
        raise ValueError(
            f"input {tensor.name!r} takes strings, which LiteRT does not. Apply the "
            "layer that reads them (StringLookup, TextVectorization) to the data "
            "before the model, and export the model that takes its output."
        )
    return array.astype("float32" if dtype in ("float16", "bfloat16") else dtype)
