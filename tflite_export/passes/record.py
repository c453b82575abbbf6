"""What an export decided from data, apart from ranges.

`qsparse verify` makes the graph of a file again without those data, and must decide
the same: the file's metadata carry the decisions, in the order they were made.
"""

import base64
from collections.abc import Callable
from typing import Any

import numpy as np


class Choices:
    """Values per channel, measured and written down, or read back.

    Made without arguments, it measures; see `from_list` for the other kind.
    """

    def __init__(self) -> None:
        self._repeats = False
        self._entries: list[list[str]] = []
        self._next = 0

    @classmethod
    def from_list(cls, recorded: Any) -> "Choices":
        """Returns choices that repeat what was decided once.

        Args:
            recorded: what `to_list` returned, or what an untrusted file has there.

        Raises:
            ValueError: it is nothing `to_list` returns.
        """
        if not isinstance(recorded, list) or not all(
            isinstance(entry, list) and all(isinstance(text, str) for text in entry)
            for entry in recorded
        ):
            raise ValueError("the choices must be lists of base64 texts")
        choices = cls()
        choices._repeats, choices._entries = True, recorded
        return choices

    def make(
        self,
        sizes: list[int],
        measure: Callable[[], list[np.ndarray]],
        least: float = -np.inf,
    ) -> list[np.ndarray]:
        """Returns one array per tensor, empty where it needs none.

        Args:
            sizes: channels of each tensor.
            measure: returns the arrays, float32; not called where they are repeated.
            least: least value a channel may have.

        Raises:
            ValueError: the record is of another model.
        """
        if not self._repeats:
            factors = [np.asarray(array, np.float32) for array in measure()]
            self._entries.append([_encode(array) for array in factors])
            return factors
        if self._next == len(self._entries):
            raise ValueError(f"it has {self._next} choices, the model needs more")
        factors = [_decode(text) for text in self._entries[self._next]]
        self._next += 1
        if len(factors) != len(sizes):
            raise ValueError(
                f"its choice {self._next} is about {len(factors)} tensors, in the "
                f"model it is about {len(sizes)}"
            )
        for array, size in zip(factors, sizes, strict=True):
            fits = np.isfinite(array).all() and (array >= least).all()
            if array.size not in (0, size) or not fits:
                raise ValueError(
                    f"its choice {self._next} must be {size} finite values of at least "
                    f"{least}, got {array.size} values"
                )
        return factors

    def finish(self) -> None:
        """Checks that everything that was recorded has been repeated.

        Raises:
            ValueError: the record is of another model.
        """
        if self._repeats and self._next < len(self._entries):
            raise ValueError(
                f"it has {len(self._entries)} choices, the model needs {self._next}"
            )

    def to_list(self) -> list[list[str]]:
        """Returns what was decided, ready for JSON."""
        return self._entries


def _encode(array: np.ndarray) -> str:
    return base64.b64encode(array.astype("<f4").tobytes()).decode()


def _decode(text: str) -> np.ndarray:
    try:
        return np.frombuffer(base64.b64decode(text, validate=True), "<f4")
    except ValueError as error:
        raise ValueError(f"its choices are damaged ({error})") from error
