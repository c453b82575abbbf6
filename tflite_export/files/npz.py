"""Samples and labels from a .npz file."""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

LABELS = "y"
_LIMIT = 8 << 30  # bytes an archive may unpack to
_HOW = (
    "Write it with numpy.savez: one array named 'x' (or one per input, by its name), "
    "samples first, and if you like labels named 'y'."
)


@dataclass(frozen=True)
class DataFile:
    """What a .npz file holds.

    Attributes:
        inputs: one array, or input name -> array.
        labels: labels of the only output, or None.
    """

    inputs: Any
    labels: np.ndarray | None


def read_data(path: str | Path, labels: str | Path | None = None) -> DataFile:
    """Reads samples, and labels if there are any.

    Args:
        path: a .npz file.
        labels: a .npz file with one array, or with one named 'y'; None takes 'y' of
            the first file, if it has one.

    Raises:
        ValueError: a damaged file, or one without samples.
        FileNotFoundError: no such file.
    """
    arrays = _arrays(Path(path))
    own = arrays.pop(LABELS, None)
    if not arrays:
        raise ValueError(f"{path} holds no samples. {_HOW}")
    inputs = next(iter(arrays.values())) if len(arrays) == 1 else arrays
    if labels is not None:
        given = _arrays(Path(labels))
        if LABELS not in given and len(given) != 1:
            raise ValueError(
                f"{labels} must hold one array, or one named {LABELS!r}, got "
                f"{sorted(given)}."
            )
        own = given.get(LABELS, next(iter(given.values()), None))
    counts = {len(a) if a.ndim else 0 for a in [*arrays.values(), own] if a is not None}
    if len(counts) != 1 or counts == {0}:
        raise ValueError(
            f"{path} and its labels hold different numbers of samples, or none: "
            f"{sorted(counts)}. {_HOW}"
        )
    return DataFile(inputs, own)


def _arrays(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > _LIMIT:
            raise ValueError(f"it would unpack to {size:,} bytes")
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        # numpy takes any archive and returns members of other kinds as bytes.
        others = sorted(n for n, a in arrays.items() if not _is_numeric(a))
        if others:
            raise ValueError(f"it holds other things than numbers: {others[:3]}")
        return arrays
    # A hostile file can be wrong in any way; an array may claim any size.
    except Exception as error:
        why = str(error) or type(error).__name__
        raise ValueError(f"{path} is no .npz file or damaged: {why}. {_HOW}") from error


def _is_numeric(array: Any) -> bool:
    return isinstance(array, np.ndarray) and array.dtype.kind in "biuf"
