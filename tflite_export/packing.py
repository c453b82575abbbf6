"""Packs .tflite files for the way to the device, and unpacks them."""

import os
from dataclasses import dataclass
from pathlib import Path

from qsparse.tflite_export.files.qsp import pack_bytes, unpack_bytes
from qsparse.tflite_export.files.source import check_identifier
from qsparse.tflite_export.files.write import check_destination, write_whole


@dataclass(frozen=True)
class Packed:
    """The sizes of a model.

    Attributes:
        path: the .qsp file.
        size_bytes: size of the .tflite file.
        packed_bytes: size of the .qsp file.
    """

    path: str
    size_bytes: int
    packed_bytes: int

    def __str__(self) -> str:
        share = self.packed_bytes / self.size_bytes
        return (
            f"{self.path}: {self.packed_bytes:,} bytes, {share:.1%} of "
            f"{self.size_bytes:,}"
        )


def pack(model: str | os.PathLike, path: str | os.PathLike) -> Packed:
    """Writes the packed form of a model, which `Interpreter` takes as it is.

    Args:
        model: a .tflite file, of any origin.
        path: the file to write, *.qsp.

    Raises:
        ValueError: the model is damaged or no .tflite file, or `path` is wrong.
        FileNotFoundError: no such file or folder.
    """
    target = check_destination(path, ".qsp")
    contents = Path(model).read_bytes()
    check_identifier(str(model), contents[:8], len(contents))
    packed = pack_bytes(contents, str(model))
    write_whole(target, packed)
    return Packed(str(target), len(contents), len(packed))


def unpack(model: str | os.PathLike, path: str | os.PathLike) -> Packed:
    """Writes the .tflite file that was packed, the same to the last byte.

    Args:
        model: a file written by `pack`.
        path: the file to write, *.tflite.

    Raises:
        ValueError: the model is damaged or no .qsp file, or `path` is wrong; nothing
            is written.
        FileNotFoundError: no such file or folder.
    """
    target = check_destination(path, ".tflite")
    packed = Path(model).read_bytes()
    contents = unpack_bytes(packed, str(model))
    write_whole(target, contents)
    return Packed(str(model), len(contents), len(packed))
