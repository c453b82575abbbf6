"""Weights that PyTorch saved, read without PyTorch.

Only the format from before PyTorch 1.6 is read: four pickles (a magic number, the
version, the machine, and the dictionary of tensors), the keys of the storages, and
the storages' raw data. A pickle can name anything to be called, so these are read
by an unpickler that knows the four names a dictionary of tensors needs and refuses
all others.
"""

import pickle
import struct
from collections import OrderedDict
from io import BytesIO
from math import prod
from typing import Any, NamedTuple

import numpy as np

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_DTYPES: dict[str, np.dtype] = {
    "FloatStorage": np.dtype("<f4"),
    "LongStorage": np.dtype("<i8"),
}


class _Storage(NamedTuple):
    dtype: np.dtype
    key: str
    length: int


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_torch_file(content: bytes) -> dict[str, np.ndarray]:
    """Returns the tensors of a file that `torch.save(model.state_dict())` wrote.

    Args:
        content: of the file, in the format from before PyTorch 1.6.

    Returns:
        By name, read-only float32 and int64 arrays, with PyTorch's order of axes.

    Raises:
        ValueError: the file is in another format, damaged, asks for code to be run,
            or holds what is no dictionary of tensors.
    """
    try:
        return _read(BytesIO(content), len(content))
    except ValueError:
        raise
    except Exception as error:  # a damaged pickle may raise any exception
        raise ValueError(
            f"not a PyTorch file, or damaged: {type(error).__name__}: {error}"
        ) from error


def _read(stream: BytesIO, size: int) -> dict[str, np.ndarray]:
    if stream.getbuffer()[:4] == b"PK\x03\x04":
        raise ValueError(
            "this PyTorch file is in the zip format; only the format from before "
            "PyTorch 1.6 (torch.save with _use_new_zipfile_serialization=False) is read"
        )
    heads = [_Unpickler(stream).load() for _ in range(3)]
    if heads[:2] != [_MAGIC, _PROTOCOL]:
        raise ValueError("not a PyTorch file: it does not begin with PyTorch's number")
    unpickler = _Unpickler(stream)
    tensors = unpickler.load()
    keys = _Unpickler(stream).load()
    if not isinstance(tensors, dict):
        raise ValueError(f"the file holds a {type(tensors).__name__}, no dictionary")
    data = {}
    for key in keys:
        storage = unpickler.storages[key]
        (length,) = struct.unpack("<q", stream.read(8))
        nbytes = length * storage.dtype.itemsize
        if length != storage.length or not 0 <= nbytes <= size - stream.tell():
            raise ValueError(f"storage {key!r} is damaged or cut off")
        data[key] = np.frombuffer(stream.read(nbytes), storage.dtype)
    return {name: _array(name, tensor, data) for name, tensor in tensors.items()}


def _array(name: str, tensor: Any, data: dict[str, np.ndarray]) -> np.ndarray:
    if not isinstance(tensor, _Tensor):
        raise ValueError(f"{name!r} is a {type(tensor).__name__}, no tensor")
    storage, offset, shape, strides = tensor
    whole = isinstance(offset, int) and all(isinstance(n, int) for n in shape + strides)
    if not whole or len(shape) != len(strides) or min(offset, *shape, *strides, 0) < 0:
        raise ValueError(f"tensor {name!r} is damaged")
    if prod(shape) == 0:
        return np.empty(shape, storage.dtype)
    steps = zip(shape, strides, strict=True)
    last = offset + sum((length - 1) * step for length, step in steps)
    if last >= storage.length:
        raise ValueError(f"tensor {name!r} reaches beyond its storage")
    return np.lib.stride_tricks.as_strided(
        data[storage.key][offset:],
        shape,
        [step * storage.dtype.itemsize for step in strides],
        writeable=False,
    )


class _Unpickler(pickle.Unpickler):
    """Knows the four names of a dictionary of tensors, and calls nothing else."""

    def __init__(self, stream: BytesIO) -> None:
        super().__init__(stream)
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild_tensor
        if module == "torch" and name in _DTYPES:
            return name
        raise ValueError(
            f"the file asks for {module}.{name}, which is no part of a dictionary of "
            "float32 and int64 tensors; it may be malicious and was not loaded"
        )

    def persistent_load(self, pid: Any) -> _Storage:
        _, kind, key, _, length, view = pid
        if view is not None:
            raise ValueError(f"storage {key!r} is a view of another one")
        if kind not in _DTYPES or not isinstance(length, int):
            raise ValueError(f"storage {key!r} is damaged")
        return self.storages.setdefault(key, _Storage(_DTYPES[kind], key, length))


def _rebuild_tensor(
    storage: _Storage, offset: int, shape: Any, strides: Any, *_: Any
) -> _Tensor:
    return _Tensor(storage, offset, tuple(shape), tuple(strides))
