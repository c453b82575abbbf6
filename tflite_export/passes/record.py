"""What an export decided from data, apart from ranges.

`qsparse verify` makes the graph of a file again without those data, and must decide
the same: the file's metadata carry the decisions, under the names of the passes.
"""

import base64
from collections.abc import Callable
from typing import Any

import numpy as np

# Files of version 1 have a list, in this order.
_IN_ORDER = (
    *("group_neurons", "smooth", "equalize"),
    *("correct_biases", "scale_residuals"),
)


class RecordError(ValueError):
    """What was recorded is damaged, or of another model."""


class Record:
    """Values per channel, measured and written down, or read back.

    Made without arguments, it measures; see `from_metadata` for the other kind.
    """

    def __init__(self) -> None:
        self.repeats = False
        self._entries: dict[str, list[str]] = {}
        self._repeated: set[str] = set()

    @classmethod
    def from_metadata(cls, recorded: Any) -> "Record":
        """Returns a record that repeats what was decided once.

        Args:
            recorded: what `to_dict` returned, or what an untrusted file has there.

        Raises:
            RecordError: it is nothing `to_dict` returns, or returned in version 1.
        """
        if isinstance(recorded, list):
            if len(recorded) != len(_IN_ORDER):
                raise RecordError(f"it has {len(recorded)} choices, not 5")
            recorded = dict(zip(_IN_ORDER, recorded, strict=True))
        if not isinstance(recorded, dict) or not all(
            isinstance(entry, list) and all(isinstance(text, str) for text in entry)
            for entry in recorded.values()
        ):
            raise RecordError("the choices must be lists of base64 texts")
        record = cls()
        record.repeats, record._entries = True, dict(recorded)
        return record

    def take(
        self,
        name: str,
        sizes: list[int],
        measure: Callable[[], list[np.ndarray]],
        least: float = -np.inf,
    ) -> list[np.ndarray]:
        """Returns one array per site of a pass, empty where it needs none.

        Args:
            name: the pass.
            sizes: channels of each site.
            measure: returns the arrays, float32; not called where they are repeated.
            least: least value a channel may have.

        Raises:
            RecordError: the record is of another model.
        """
        if not self.repeats:
            values = [np.asarray(array, np.float32) for array in measure()]
            self._entries[name] = [_encode(array) for array in values]
            return values
        if name not in self._entries:
            raise RecordError(f"it does not say what pass {name!r} decided")
        self._repeated.add(name)
        values = [_decode(text) for text in self._entries[name]]
        if len(values) != len(sizes):
            raise RecordError(
                f"pass {name!r} decided about {len(values)} tensors, in the model "
                f"there are {len(sizes)}"
            )
        for array, size in zip(values, sizes, strict=True):
            fits = np.isfinite(array).all() and (array >= least).all()
            if array.size not in (0, size) or not fits:
                raise RecordError(
                    f"what pass {name!r} decided must be {size} finite values of at "
                    f"least {least}, got {array.size} values"
                )
        return values

    def finish(self) -> None:
        """Checks that everything that was recorded has been repeated.

        Raises:
            RecordError: the record is of another model, or of another version.
        """
        left = sorted(self._entries.keys() - self._repeated)
        if self.repeats and left:
            raise RecordError(f"it says what {left} decided, which are no passes")

    def to_dict(self) -> dict[str, list[str]]:
        """Returns what was decided, ready for JSON."""
        return self._entries


def _encode(array: np.ndarray) -> str:
    return base64.b64encode(array.astype("<f4").tobytes()).decode()


def _decode(text: str) -> np.ndarray:
    try:
        return np.frombuffer(base64.b64decode(text, validate=True), "<f4")
    except ValueError as error:
        raise RecordError(f"its choices are damaged ({error})") from error
