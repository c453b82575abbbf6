r"""The packed form of a .tflite file, byte by byte.

A .qsp file, format 1, all numbers little-endian:

    offset  bytes
    0       8      b"QSPARSE\x1a"
    8       4      format, 1
    12      4      number of arrays, at most 65,536
    16      8      size of this file
    24      8      size of the stream
    32      8      size of the .tflite file
    40      32     SHA-256 of the .tflite file
    72             one zstd frame that holds the stream

The stream, without gaps:

    arrays    20 bytes each: offset in the .tflite file (8), rows (4), columns (4),
              bytes of an element (1), rows (1) and columns (1) of a tile, 0 (1);
              ascending, no two overlap
    rest      the bytes of the .tflite file that belong to none of the arrays
    bitmaps   of all arrays; one bit per tile, row by row, the first in the highest bit,
              1 = kept; each begins a new byte
    values    of all arrays: the kept tiles, row by row; for elements of several bytes
              the first byte of each, then the second of each...

Tiles that are not kept are zero. Which arrays are listed, and in what tiles, is the
writer's choice: whatever it estimates to be smallest.
"""

import hashlib
import struct
from collections.abc import Iterator

import numpy as np
import zstandard

from qsparse.tflite_export.files.constants import Constant, find_constants
from qsparse.tflite_export.files.tiles import (
    TILES,
    Tile,
    Tiled,
    cut,
    entropy,
    join,
    tile_count,
)

MAGIC = b"QSPARSE\x1a"
_FORMAT = 1
_HEADER = struct.Struct("<8sIIQQQ32s")
_ARRAY = struct.Struct("<QIIBBBx")
_LEVEL = 19
# What a file may claim to hold: a small one must not fill the memory.
_ALWAYS = 64 << 20
_MOST_GROWTH = 1000
_MOST_ARRAYS = 1 << 16


def is_packed(head: bytes) -> bool:
    """Whether a file that begins with these 8 bytes is a packed one."""
    return head[: len(MAGIC)] == MAGIC


def pack_bytes(contents: bytes, name: str = "<bytes>") -> bytes:
    """Packs a .tflite file.

    Args:
        contents: any .tflite file; what is not sparse is only compressed.
        name: the file, for messages.

    Returns:
        A .qsp file, from which `unpack_bytes` was seen to give `contents` back.

    Raises:
        ValueError: the file is damaged, or so empty that unpacking would take it for
            an attack (more than 64 MiB, a thousandth of that when packed).
    """
    arrays = [
        (constant, tiled)
        for constant in find_constants(contents, name)
        if (tiled := _smallest(contents, constant)) is not None
    ][:_MOST_ARRAYS]
    stream = b"".join(
        [
            *(_entry(constant, tiled.tile) for constant, tiled in arrays),
            *(
                contents[start:stop]
                for start, stop in _gaps([c for c, _ in arrays], len(contents))
            ),
            *(tiled.bitmap.tobytes() for _, tiled in arrays),
            *(tiled.values.tobytes() for _, tiled in arrays),
        ]
    )
    frame = zstandard.ZstdCompressor(level=_LEVEL).compress(stream)
    header = _HEADER.pack(
        MAGIC,
        _FORMAT,
        len(arrays),
        _HEADER.size + len(frame),
        len(stream),
        len(contents),
        hashlib.sha256(contents).digest(),
    )
    packed = header + frame
    unpack_bytes(packed, name)
    return packed


def unpack_bytes(packed: bytes, name: str = "<bytes>") -> bytes:
    """Returns the .tflite file that was packed, the same to the last byte.

    Args:
        packed: a .qsp file.
        name: the file, for messages.

    Raises:
        ValueError: not a .qsp file, a damaged one, or one of a newer format; names
            the file.
    """
    try:
        return _unpack(packed)
    except ValueError as error:
        raise ValueError(f"{name} {error}") from error


def _smallest(contents: bytes, constant: Constant) -> Tiled | None:
    """Returns the best way to cut an array; None if it is best left as it is."""
    data = np.frombuffer(contents, np.uint8, constant.size, constant.offset)
    best, least = None, entropy(data)
    for tile in TILES:
        if tile_count(constant, tile):
            tiled = cut(data, constant, tile)
            if (cost := tiled.cost + _ARRAY.size) < least:
                best, least = tiled, cost
    return best


def _entry(constant: Constant, tile: Tile) -> bytes:
    return _ARRAY.pack(
        constant.offset, constant.rows, constant.columns, constant.width, *tile
    )


def _gaps(arrays: list[Constant], size: int) -> Iterator[tuple[int, int]]:
    """Yields start and stop of what lies before, between and after the arrays."""
    start = 0
    for constant in arrays:
        yield start, constant.offset
        start = constant.offset + constant.size
    yield start, size


def _unpack(packed: bytes) -> bytes:
    if not is_packed(packed):
        raise ValueError("is not a packed model: no .qsp file begins like it.")
    if len(packed) < _HEADER.size:
        raise ValueError(f"is truncated: {len(packed)} bytes hold no header.")
    _, version, count, packed_size, stream_size, size, digest = _HEADER.unpack_from(
        packed
    )
    if version != _FORMAT:
        raise ValueError(
            f"has format {version}, this version of qsparse reads {_FORMAT}. Upgrade "
            "qsparse, or pack the model again."
        )
    if len(packed) != packed_size:
        raise ValueError(
            f"is truncated or damaged: {len(packed)} bytes instead of {packed_size}."
        )
    if count > _MOST_ARRAYS:
        raise ValueError(
            f"is damaged: {count} arrays, where {_MOST_ARRAYS} are allowed."
        )
    limit = max(_ALWAYS, _MOST_GROWTH * len(packed))
    if max(stream_size, size) > limit:
        raise ValueError(
            f"is refused: {len(packed)} bytes would grow to {max(stream_size, size)}; "
            f"at most {limit} are allowed."
        )
    stream = _Stream(_decompress(packed[_HEADER.size :], stream_size))
    contents = _assemble(stream, count, size).tobytes()
    if hashlib.sha256(contents).digest() != digest:
        raise ValueError("is damaged: the checksum of its contents is wrong.")
    return contents


def _decompress(frame: bytes, size: int) -> bytes:
    try:
        # The decompressor allocates what the frame claims, which must be what the
        # header claims, which was checked.
        claimed = zstandard.get_frame_parameters(frame).content_size
        if claimed != size:
            raise ValueError(f"is damaged: {claimed} bytes instead of {size} inside.")
        return zstandard.ZstdDecompressor(max_window_size=_ALWAYS).decompress(
            frame, allow_extra_data=False
        )
    except zstandard.ZstdError as error:
        raise ValueError(f"is damaged: {error}.") from error


def _assemble(stream: "_Stream", count: int, size: int) -> np.ndarray:
    """Returns the bytes of the .tflite file."""
    arrays = _read_arrays(stream, count, size)
    contents = np.empty(size, np.uint8)
    for start, stop in _gaps([constant for constant, _ in arrays], size):
        contents[start:stop] = stream.take(stop - start)
    masks = []
    for constant, tile in arrays:
        tiles = tile_count(constant, tile)
        bitmap = stream.take(-(-tiles // 8))
        masks.append(np.unpackbits(bitmap, count=tiles).view(bool))
    for (constant, tile), kept in zip(arrays, masks, strict=True):
        elements = int(np.count_nonzero(kept)) * tile[0] * tile[1]
        values = stream.take(elements * constant.width)
        tiled = Tiled(tile, kept, values.reshape(constant.width, elements))
        stop = constant.offset + constant.size
        contents[constant.offset : stop] = join(tiled, constant)
    stream.finish()
    return contents


def _read_arrays(
    stream: "_Stream", count: int, size: int
) -> list[tuple[Constant, Tile]]:
    """Returns the arrays, all inside the file, in order, and made of whole tiles."""
    arrays: list[tuple[Constant, Tile]] = []
    end = 0
    for fields in _ARRAY.iter_unpack(stream.take(count * _ARRAY.size).tobytes()):
        constant, tile = Constant(*fields[:4]), (fields[4], fields[5])
        fits = end <= constant.offset and constant.offset + constant.size <= size
        if not (fits and constant.width and all(tile) and tile_count(constant, tile)):
            raise ValueError(f"is damaged: array {len(arrays)} cannot be {fields}.")
        arrays.append((constant, tile))
        end = constant.offset + constant.size
    return arrays


class _Stream:
    """Hands out the bytes of the stream, and no others."""

    def __init__(self, contents: bytes) -> None:
        self._left = np.frombuffer(contents, np.uint8)

    def take(self, size: int) -> np.ndarray:
        """Returns the next bytes."""
        if size > self._left.size:
            raise ValueError(
                f"is damaged: {size} bytes expected where {self._left.size} are left."
            )
        taken, self._left = self._left[:size], self._left[size:]
        return taken

    def finish(self) -> None:
        """Checks that nothing is left."""
        if self._left.size:
            raise ValueError(f"is damaged: {self._left.size} bytes too many.")
