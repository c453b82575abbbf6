"""Batches: a user's data, in any form that Keras users have it."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from typing import Any

import keras
import numpy as np
from keras import tree

_HOW = (
    "Give an array, a list or dict of arrays (several inputs), a tuple of them "
    "(x, y) or (x, y, sample_weight), or batches of these, as a tf.data.Dataset or a "
    "keras.utils.PyDataset."
)


class Batches:
    """A user's data as batches `(x, y, sample_weight)`; none is read before its turn.

    Args:
        data: one of
            - one array, or a dict or a list of arrays: `x`;
            - a tuple `(x,)`, `(x, y)` or `(x, y, sample_weight)`, each of them an array
              or a structure of arrays with as many rows, or None; arrays are cut into
              batches, in order;
            - a `tf.data.Dataset`, a `keras.utils.PyDataset`, a list or another
              iterable of batches, each of which is one of these. A list of arrays is
              one for a model of one input.
        name: what the user calls the data, for messages.
        rows: of a batch that arrays are cut into; `fit` has 32.
        model: the model it is for; None if unknown.
        again: whether the data is gone through more than once, each time to its end.

    Attributes:
        cuts: whether the data is whole arrays, that are cut here.

    Raises:
        TypeError: if `data` is none of these.
        ValueError: if arrays have no rows, or not as many; if `again`, and the data
            does not end, or does not begin again.
    """

    def __init__(
        self,
        data: Any,
        name: str,
        *,
        rows: int = 32,
        model: keras.Model | None = None,
        again: bool = False,
    ) -> None:
        if isinstance(data, Mapping) or _is_array(data) or _is_inputs(data, model):
            data = (data,)
        self._data, self._name, self._rows = data, name, rows
        self.cuts = isinstance(data, tuple)
        self._count: int | None = None
        if self.cuts:
            self._count = -(-self._length() // rows)
        elif isinstance(data, keras.utils.PyDataset):
            self._count = data.num_batches
        elif isinstance(data, list):
            self._count = len(data)
        elif isinstance(data, str | bytes) or not isinstance(data, Iterable):
            kind = type(data).__name__
            raise TypeError(f"{name} must hold samples. {_HOW} Received: {kind}")
        if again:
            self._check_again()

    def _check_again(self) -> None:
        data, endless = self._data, False
        if isinstance(data, keras.utils.PyDataset):
            endless = self._count is None
        elif iter(data) is data:
            raise ValueError(
                f"{self._name} is gone through more than once, which a "
                f"{type(data).__name__} cannot be. {_HOW}"
            )
        elif hasattr(data, "cardinality"):
            cardinality = int(data.cardinality())
            endless = cardinality == -1  # tf.data.INFINITE_CARDINALITY
            self._count = cardinality if cardinality >= 0 else None
        if endless:
            raise ValueError(
                f"{self._name} never ends. Give it a length, as with dataset.take(64)."
            )
        if self._count == 0:
            raise self.nothing()

    def nothing(self) -> ValueError:
        """Returns what to raise where there are no rows."""
        return ValueError(f"{self._name} is empty. {_HOW}")

    def count(self) -> int:
        """Returns how many batches there are; of data that can be gone through again.

        Raises:
            ValueError: if there are none.
        """
        if self._count is None:
            self._count = sum(1 for _ in self._data)
        if self._count == 0:
            raise self.nothing()
        return self._count

    def __iter__(self) -> Iterator[tuple[Any, Any, Any]]:
        """Yields `(x, y, sample_weight)`: structures of numpy arrays, or None.

        Floats are what `fit` hands to a model: of Keras' default float.
        """
        for batch in self._batches():
            parts = keras.utils.unpack_x_y_sample_weight(batch)
            x, y, weight = (tree.map_structure(_as_numpy, part) for part in parts)
            yield x, y, weight

    def _batches(self) -> Iterator[Any]:
        if isinstance(self._data, keras.utils.PyDataset):
            places = count() if self._count is None else range(self._count)
            yield from (self._data[place] for place in places)
        elif self.cuts:
            for start in range(0, self._length(), self._rows):
                at = slice(start, start + self._rows)
                yield tree.map_structure(
                    lambda a, at=at: None if a is None else a[at], self._data
                )
        else:
            yield from self._data

    def _length(self) -> int:
        """Returns how many rows the arrays have."""
        leaves = [leaf for leaf in tree.flatten(self._data) if leaf is not None]
        arrays = [leaf for leaf in leaves if _is_array(leaf) and len(leaf.shape) > 0]
        if not 1 <= len(self._data) <= 3 or len(arrays) < len(leaves):
            found = [getattr(leaf, "shape", type(leaf).__name__) for leaf in leaves]
            raise TypeError(
                f"{self._name} is no (x,), (x, y) or (x, y, sample_weight) of arrays. "
                f"{_HOW} Received: {len(self._data)} parts, {found[:8]}"
            )
        lengths = {int(array.shape[0]) for array in arrays}
        if len(lengths) > 1:
            raise ValueError(
                f"the arrays of {self._name} hold different numbers of samples: "
                f"{sorted(lengths)}."
            )
        if not lengths or 0 in lengths:
            raise self.nothing()
        return lengths.pop()


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "__getitem__")


def _is_inputs(data: Any, model: keras.Model | None) -> bool:
    """Returns whether a list holds an array for each input, and no batches."""
    if not isinstance(data, list) or not data or not all(map(_is_array, data)):
        return False
    return len(data) == 1 or len(getattr(model, "inputs", None) or []) != 1


def _as_numpy(value: Any) -> Any:
    if value is None:
        return None
    array = np.asarray(value)
    return array.astype(keras.config.floatx()) if array.dtype.kind == "f" else array
