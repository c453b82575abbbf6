"""Where a model comes from: a path or its contents, packed or not."""

import os
from pathlib import Path

from qsparse.tflite_export.files.qsp import is_packed, unpack_bytes

IDENTIFIER = b"TFL3"


def read_source(source: str | os.PathLike | bytes) -> tuple[str, bytes]:
    """Reads a model into memory.

    Args:
        source: path or contents of a .tflite or .qsp file.

    Returns:
        A name for messages and the contents of the .tflite file.

    Raises:
        ValueError: neither kind of file, or a damaged .qsp file; names it.
        FileNotFoundError: no such file.
    """
    if isinstance(source, bytes | bytearray):
        name, contents = "<bytes>", bytes(source)
    else:
        name, contents = str(source), Path(source).read_bytes()
    if is_packed(contents):
        contents = unpack_bytes(contents, name)
    check_identifier(name, contents[:8], len(contents))
    return name, contents


def read_head(path: Path) -> bytes:
    """Returns the first 8 bytes of a file, by which its kind is known."""
    with path.open("rb") as stream:
        return stream.read(8)


def check_order(model: str | os.PathLike, file: str | os.PathLike) -> None:
    """Checks that a Keras model and its export were not given the other way round.

    Args:
        model: what should be the .keras file.
        file: what should be the .tflite or .qsp file.

    Raises:
        ValueError: they are swapped; says which is which.
    """
    if _is_exported(Path(model)) and not _is_exported(Path(file)):
        raise ValueError(
            f"{model} is an exported file, but stands where its Keras model belongs. "
            f"Give the .keras file first, then the .tflite or .qsp file: {file} "
            f"{model}"
        )


def _is_exported(path: Path) -> bool:
    if not path.is_file():
        return path.suffix in (".tflite", ".qsp")
    head = read_head(path)
    return is_packed(head) or head[4:8] == IDENTIFIER


def check_identifier(name: str, head: bytes, size: int) -> None:
    """Checks the first bytes of a file.

    Args:
        name: the file, for the message.
        head: its first 8 bytes.
        size: its size in bytes.

    Raises:
        ValueError: this is no .tflite file.
    """
    if head[4:8] != IDENTIFIER:
        raise ValueError(
            f"{name} is not a LiteRT model: {size} bytes without the identifier 'TFL3'."
        )
