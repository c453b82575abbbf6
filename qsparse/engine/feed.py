"""The feed: samples of a user's data, checked against a model's inputs."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from qsparse.engine.batches import Batches


@dataclass(frozen=True)
class Feed:
    """Samples of a model's inputs.

    Attributes:
        structure: what the model's call takes, the leaves being input names.
        arrays: one array per leaf, samples first.
        labels: what the data gave beside the features, one entry per sample; None if
            it gave nothing, or no single array.
    """

    structure: Any
    arrays: list[np.ndarray]
    labels: np.ndarray | None = None

    @property
    def count(self) -> int:
        """Number of samples."""
        return len(self.arrays[0])

    def batches(self, size: int) -> Iterator[Any]:
        """Yields what the model's call takes, `size` samples at a time.

        The last batch may be shorter.
        """
        for start in range(0, self.count, size):
            flat = [array[start : start + size] for array in self.arrays]
            yield keras.tree.pack_sequence_as(self.structure, flat)


def read(model: keras.Model, data: Any, limit: int, name: str) -> Feed:
    """Reads at most `limit` samples and checks them against the model's inputs.

    Args:
        model: a built Keras model.
        data: as of `Batches`. Labels need not be there: a tuple of as many arrays as
            the model has inputs, and more than one, is those.
        limit: most samples to read.
        name: what the user calls the data, for messages.

    Raises:
        ValueError: no samples, wrong number of inputs, wrong shape, or NaN.
        TypeError: `data` is none of the allowed forms.
    """
    expected, names = _declared_inputs(model)
    inputs = len(expected) if expected else None
    if inputs != 1 and isinstance(data, tuple) and all(map(_is_array, data)):
        data = list(data) if inputs in (None, len(data)) else data
    elif expected and isinstance(data, Mapping):
        wanted = names if isinstance(names, Mapping) else [t.name for t in expected]
        data = {key: data[key] for key in wanted if key in data} or data
    batches = Batches(data, name, rows=limit, model=model)
    chunks = []
    labels: list[np.ndarray] | None = []
    count = 0
    for features, target, _ in batches:
        structure, flat = _match(model, features, expected, names, name)
        tensors = expected or [None] * len(flat)
        pairs = zip(flat, tensors, strict=True)
        flat = [_as_batch(a, t, batches.cuts, name) for a, t in pairs]
        sizes = {len(array) for array in flat}
        if len(sizes) != 1:
            raise ValueError(
                f"the arrays of {name} hold different numbers of samples: "
                f"{sorted(sizes)}."
            )
        chunks.append([array[: limit - count] for array in flat])
        labels = _more_labels(labels, target, len(flat[0]), limit - count)
        count += len(chunks[-1][0])
        if count >= limit:
            break
    if not count:
        raise batches.nothing()
    arrays = [np.concatenate(parts) for parts in zip(*chunks, strict=True)]
    for leaf, array in zip(keras.tree.flatten(structure), arrays, strict=True):
        if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
            raise ValueError(
                f"{name} of input {leaf!r} holds NaN or infinite values; ranges "
                "cannot be calibrated on them."
            )
    known = np.concatenate(labels) if labels else None
    return Feed(structure, arrays, known)


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


def _match(
    model: keras.Model, features: Any, expected: list | None, names: Any, name: str
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
                f"{name} lacks the inputs {missing}; model "
                f"{model.name!r} takes {wanted}, got {sorted(features)}."
            )
        order = keras.tree.flatten({k: k for k in keys}) if keys else wanted
        flat = [features[key] for key in order]
    else:
        flat = list(features) if isinstance(features, list | tuple) else [features]
    if len(flat) != len(expected):
        raise ValueError(
            f"model {model.name!r} has {len(expected)} inputs "
            f"({[t.name for t in expected]}) but {name} has {len(flat)}."
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


def _as_batch(array: Any, tensor: Any, whole: bool, name: str) -> np.ndarray:
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
            f"{name} for input {tensor.name!r} has shape "
            f"{array.shape}; the model takes {shape}, with the batch first."
            + (" Are these labels?" if array.ndim == 1 < len(shape) - 1 else "")
        )
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    if dtype == "string":
        return array
    return array.astype("float32" if dtype in ("float16", "bfloat16") else dtype)
