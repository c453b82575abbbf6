"""What an export decided from data, apart from ranges.

`qsparse verify` makes the graph of a file again without those data, and must decide
the same: the file's metadata carry the decisions, in the order they were made.
"""

import base64
from collections.abc import Callable

import numpy as np


class Choices:
    """Values per channel, measured and written down, or read back.

    Args:
        recorded: what `to_list` returned for the export to repeat; None measures.
    """

    def __init__(self, recorded: list[list[str]] | None = None) -> None:
        self._repeats = recorded is not None
        self._entries: list[list[str]] = [] if recorded is None else list(recorded)
        self._next = 0

    def make(self, sizes: list[int], measure: Callable[[], list[np.ndarray]]) -> list:
        """Returns one array per tensor, empty where it needs none.

        Args:
            sizes: channels of each tensor.
            measure: returns the arrays, float32; not called where they are repeated.

        Raises:
            ValueError: the record is of another model.
        """
        if not self._repeats:
            factors = [np.asarray(array, np.float32) for array in measure()]
            self._entries.append([_encode(array) for array in factors])
            return factors
        entry = self._entries[self._next] if self._next < len(self._entries) else []
        self._next += 1
        factors = [_decode(text) for text in entry]
        fits = len(factors) == len(sizes) and all(
            array.size in (0, size) and np.isfinite(array).all()
            for array, size in zip(factors, sizes, strict=False)
        )
        if not fits:
            raise ValueError("the file was not exported from this model.")
        return factors

    def to_list(self) -> list[list[str]]:
        """Returns what was decided, ready for JSON."""
        return self._entries


def _encode(array: np.ndarray) -> str:
    return base64.b64encode(array.astype("<f4").tobytes()).decode()


def _decode(text: str) -> np.ndarray:
    raw = base64.b64decode(text, validate=True)
    return np.frombuffer(raw[: len(raw) // 4 * 4], "<f4")
