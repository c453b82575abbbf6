"""Files as PyTorch wrote them before 1.6, made here byte by byte."""

import io
import pickle
import struct
import sys
import types
from collections import OrderedDict

import numpy as np
import pytest

from qsparse.recipes.weights.torch_file import read_torch_file

MAGIC = 0x1950A86A20F9469CFC6C


class Storage:
    def __init__(self, kind, key, values, length=None):
        self.kind, self.key, self.values = kind, key, values
        self.length = len(values) if length is None else length


class Tensor:
    def __init__(self, storage, offset, shape, strides):
        self.arguments = (storage, offset, shape, strides, False, OrderedDict())

    def __reduce__(self):
        return sys.modules["torch._utils"]._rebuild_tensor_v2, self.arguments


class Pickler(pickle.Pickler):
    def persistent_id(self, value):
        if not isinstance(value, Storage):
            return None
        kind = getattr(sys.modules["torch"], value.kind)
        return ("storage", kind, value.key, "cpu", value.length, None)


@pytest.fixture
def torch(monkeypatch):
    """Modules that give pickled names the place that PyTorch gives them."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in ("FloatStorage", "LongStorage", "HalfStorage"):
        setattr(torch, name, type(name, (), {"__module__": "torch"}))

    def rebuild():
        raise AssertionError("only its name is used")

    rebuild.__module__, rebuild.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = rebuild
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)


def written(content, storages=(), magic=MAGIC):
    stream = io.BytesIO()
    for head in (magic, 1001, {"little_endian": True}):
        stream.write(pickle.dumps(head, protocol=2))
    Pickler(stream, protocol=2).dump(content)
    stream.write(pickle.dumps([s.key for s in storages], protocol=2))
    for storage in storages:
        stream.write(struct.pack("<q", len(storage.values)))
        stream.write(storage.values.tobytes())
    return stream.getvalue()


def sample():
    weights = Storage("FloatStorage", "a", np.arange(12, dtype="<f4"))
    counts = Storage("LongStorage", "b", np.array([7], "<i8"))
    tensors = OrderedDict(
        plain=Tensor(weights, 0, (3, 4), (4, 1)),
        transposed=Tensor(weights, 0, (4, 3), (1, 4)),
        part=Tensor(weights, 5, (2,), (1,)),
        count=Tensor(counts, 0, (), ()),
    )
    tensors._metadata = OrderedDict(version=1)
    return tensors, [weights, counts]


def test_tensors_come_back(torch):
    tensors = read_torch_file(written(*sample()))
    table = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert list(tensors) == ["plain", "transposed", "part", "count"]
    np.testing.assert_array_equal(tensors["plain"], table)
    np.testing.assert_array_equal(tensors["transposed"], table.T)
    np.testing.assert_array_equal(tensors["part"], [5, 6])
    assert tensors["count"] == 7 and tensors["count"].dtype == np.int64


class Malicious:
    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


@pytest.mark.parametrize("place", ["magic", "tensors"])
def test_nothing_else_is_called(torch, tmp_path, place):
    trace = tmp_path / "trace"
    attack = Malicious(open, str(trace), "w")
    content = (
        written(OrderedDict(), magic=attack) if place == "magic" else written([attack])
    )
    with pytest.raises(ValueError, match=r"asks for .*io\.open.*not loaded"):
        read_torch_file(content)
    assert not trace.exists()
    pickle.loads(pickle.dumps(attack)).close()
    assert trace.exists(), "the attack itself works"


@pytest.mark.parametrize("function", [eval, getattr, __import__, setattr])
def test_dangerous_names_are_refused(torch, function):
    with pytest.raises(ValueError, match="asks for"):
        read_torch_file(written([Malicious(function, "1")]))


def test_a_cut_file_is_refused_wherever_it_is_cut(torch):
    content = written(*sample())
    for length in range(len(content)):
        with pytest.raises(ValueError):
            read_torch_file(content[:length])


def test_a_changed_byte_never_raises_anything_else(torch):
    content = written(*sample())
    rng = np.random.default_rng(0)
    for position in range(len(content)):
        changed = bytearray(content)
        changed[position] = rng.integers(256)
        try:
            read_torch_file(bytes(changed))
        except ValueError:
            pass


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [(9, (4,), (1,)), (0, (4, 4), (4, 1)), (-1, (2,), (1,)), (4, (2,), (-1,))],
)
def test_a_tensor_beyond_its_storage_is_refused(torch, offset, shape, strides):
    storage = Storage("FloatStorage", "a", np.zeros(12, "<f4"))
    tensor = Tensor(storage, offset, shape, strides)
    with pytest.raises(ValueError, match="'w'"):
        read_torch_file(written({"w": tensor}, [storage]))


def test_a_storage_that_claims_too_much_is_refused(torch):
    storage = Storage("FloatStorage", "a", np.zeros(12, "<f4"), length=1 << 40)
    with pytest.raises(ValueError, match="storage 'a' is damaged"):
        read_torch_file(written({"w": Tensor(storage, 0, (1 << 40,), (1,))}, [storage]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04rest", "zip format"),
        (b"", "damaged"),
        (pickle.dumps([1, 2], protocol=2) * 3, "does not begin"),
    ],
)
def test_other_files_are_named(content, message):
    with pytest.raises(ValueError, match=message):
        read_torch_file(content)


def test_other_number_formats_are_named(torch):
    storage = Storage("HalfStorage", "a", np.zeros(2, "<f2"))
    with pytest.raises(ValueError, match=r"torch\.HalfStorage.*float32 and int64"):
        read_torch_file(written({"w": Tensor(storage, 0, (2,), (1,))}, [storage]))


def test_a_model_of_other_contents_is_refused(torch):
    with pytest.raises(ValueError, match="'step' is a int, no tensor"):
        read_torch_file(written({"step": 3}))
