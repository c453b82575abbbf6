"""Score data: the batches that criteria see, whatever a user gives them as."""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import tree

# Rows of a batch that arrays are cut into, as `fit` does.
_ROWS = 32


class ScoreData:
    """A user's data, gone through as often as masks are selected.

    Args:
        data: one of
            - a tuple of arrays `(x,)`, `(x, y)` or `(x, y, sample_weight)`, each of
              them an array or a structure of arrays with as many rows; they are cut
              into batches of 32, in order;
            - one array or a dict of arrays: `x`;
            - a `tf.data.Dataset` or a `keras.utils.PyDataset` that ends, of batches.

    Raises:
        ValueError: if it is something else, has no rows, or does not end.
    """

    def __init__(self, data: Any) -> None:
        if isinstance(data, dict) or _is_array(data):
            data = (data,)
        self._data = data
        self._count: int | None = None
        if isinstance(data, tuple):
            self._count = -(-_rows(data) // _ROWS)
        elif isinstance(data, keras.utils.PyDataset):
            self._count = data.num_batches
            if self._count is None:
                raise ValueError(_ENDLESS)
        elif isinstance(data, list) or not _can_be_repeated(data):
            raise ValueError(
                "`score_data` must be a tuple of arrays (x, y), an array x, a "
                "tf.data.Dataset or a keras.utils.PyDataset. "
                f"Received: {type(data).__name__}"
            )
        elif hasattr(data, "cardinality"):
            cardinality = int(data.cardinality())
            if cardinality == -1:  # tf.data.INFINITE_CARDINALITY
                raise ValueError(_ENDLESS)
            self._count = cardinality if cardinality >= 0 else None
        if self._count == 0:
            raise ValueError("`score_data` has no rows.")

    def count(self) -> int:
        """Returns how many batches there are."""
        if self._count is None:
            self._count = sum(1 for _ in self._data)
            if self._count == 0:
                raise ValueError("`score_data` has no rows.")
        return self._count

    def batches(self) -> Iterator[tuple[Any, Any, Any]]:
        """Returns `(x, y, sample_weight)` of each batch: numpy arrays, or None."""
        for batch in self._batches():
            parts = keras.utils.unpack_x_y_sample_weight(batch)
            yield tuple(tree.map_structure(_as_numpy, part) for part in parts)

    def _batches(self) -> Iterator[Any]:
        if isinstance(self._data, keras.utils.PyDataset):
            yield from (self._data[index] for index in range(self.count()))
        elif isinstance(self._data, tuple):
            for start in range(0, _rows(self._data), _ROWS):
                rows = slice(start, start + _ROWS)
                yield tree.map_structure(lambda a, rows=rows: a[rows], self._data)
        else:
            yield from self._data


_ENDLESS = "`score_data` never ends. Give it a length, as with dataset.take(64)."


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "__getitem__")


def _can_be_repeated(data: Any) -> bool:
    return (
        hasattr(data, "__iter__")
        and not isinstance(data, str | bytes)
        and iter(data) is not data
    )


def _rows(parts: tuple[Any, ...]) -> int:
    """Returns how many rows arrays have; raises if they are none, or differ."""
    leaves = [leaf for leaf in tree.flatten(parts) if leaf is not None]
    arrays = [leaf for leaf in leaves if _is_array(leaf) and len(leaf.shape) > 0]
    lengths = {int(array.shape[0]) for array in arrays}
    if not 1 <= len(parts) <= 3 or len(arrays) < len(leaves) or len(lengths) != 1:
        shapes = [getattr(leaf, "shape", type(leaf).__name__) for leaf in leaves]
        raise ValueError(
            "`score_data` as a tuple is (x,), (x, y) or (x, y, sample_weight), of "
            f"arrays with as many rows. Received: {len(parts)} parts, {shapes[:8]}"
        )
    return lengths.pop()


def _as_numpy(value: Any) -> Any:
    """Returns an array as `fit` hands it to a model: floats as Keras' default float."""
    if value is None:
        return None
    array = np.asarray(value)
    return array.astype(keras.config.floatx()) if array.dtype.kind == "f" else array
