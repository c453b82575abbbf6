"""Which entry of a file's record is about which part of a model."""

from collections.abc import Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")


def paired(names: Sequence[str], recorded: Iterable[tuple[str, T]]) -> list[T] | None:
    """Pairs the names in a model with those in a record.

    A model that is built anew in a session has other automatic names ("dense_5"). Where
    the names are not those of the record, or not unique (two sublayers may be called
    "block"), as many parts in the same order are the same.

    Args:
        names: of the model, in topological order.
        recorded: `(name, entry)`, in the order they had when the file was made.

    Returns:
        The entry of each name; None if the two do not belong together.
    """
    entries = list(recorded)
    known = dict(entries)
    if len(entries) != len(names):
        return None
    if known.keys() == set(names) and len(known) == len(names):
        return [known[name] for name in names]
    return [entry for _, entry in entries]
