"""Damages small files, byte by byte and by their structure, the same on every run."""

import copy
import io
import json
import zipfile

import h5py
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from qsparse.tflite_export.files.model_file import pack

# What a number of a file may become.
_NUMBERS = (-1, -2, 0, 1, 2, 3, 5, 7, 127, 255, 256, 65536, 2**31 - 1, -(2**31))
_NAMES = (
    b"\xff\xfe",
    b"[/bold]",
    b"\x1b[2J\x1b[H",
    b"",
    b"x" * 5000,
    "ü\n\u202e".encode(),
)


def of_bytes(contents, rng):
    """Return a copy with 1 to 200 bytes changed, some cut off or put in."""
    damaged = bytearray(contents)
    for _ in range(int(rng.choice([1, 1, 2, 5, 20, 200]))):
        kind, place = rng.integers(10), int(rng.integers(max(len(damaged), 1)))
        if kind == 0:
            del damaged[place : place + int(rng.integers(1, 40))]
        elif kind == 1:
            damaged[place:place] = rng.bytes(int(rng.integers(1, 9)))
        elif damaged:
            value = rng.choice([0, 1, 127, 128, 255, int(rng.integers(256))])
            damaged[min(place, len(damaged) - 1)] = int(value)
    return bytes(damaged)


def of_tflite(contents, rng):
    """Return a file whose tree lacks parts, or holds wrong numbers, names and data."""
    tree = schema.ModelT.InitFromPackedBuf(bytearray(contents))
    tree = copy.deepcopy(tree)
    for _ in range(int(rng.choice([1, 1, 2, 4]))):
        _damage(_pick(tree, rng), rng)
    try:
        return pack(tree)
    except Exception:  # some trees cannot be written
        return of_bytes(contents, rng)


def of_npz(contents, rng):
    """Return an archive with wrong headers, arrays and names, its checksums right."""
    members = _members(contents)
    name = str(rng.choice(sorted(members)))
    kind = rng.integers(6)
    if kind == 0:
        members[name] = of_bytes(members[name][:128], rng) + members[name][128:]
    elif kind == 1:
        stream = io.BytesIO()
        odd = [
            np.array(["a", "b"]),
            np.zeros((2, 3), "c16"),
            np.zeros(4, "M8[s]"),
            np.zeros(3, [("a", "i4")]),
            np.array(3.0),
            np.zeros((0, 28, 28, 1), "f4"),
            np.full((16, 28, 28, 1), np.nan, "f4"),
            np.zeros((16, 27), "f8"),
        ]
        np.save(stream, odd[rng.integers(len(odd))])
        members[name] = stream.getvalue()
    elif kind == 2:
        members[str(rng.choice(["\x1b[2J", "[/b]", "a/b", "y", "z.npy"]))] = b"what"
    elif kind == 3:
        del members[name]
    elif kind == 4:
        members[name] = members[name][: int(rng.integers(len(members[name])))]
    else:
        shape = [b"(99999999999,)", b"(-4, 28)", b"((((((", b"(16, 28, 28, 1, 1)"]
        members[name] = members[name].replace(
            b"(16, 28, 28, 1)", shape[rng.integers(len(shape))]
        )
    return _archive(members)


def of_keras(contents, rng):
    """Return a model whose configuration or weights are wrong, its checksums right."""
    members = _members(contents)
    kind = rng.integers(4)
    if kind == 0:
        config = json.loads(members["config.json"])
        for _ in range(int(rng.integers(1, 4))):
            _damage_json(config, rng)
        members["config.json"] = json.dumps(config).encode()
    elif kind == 1:
        members["config.json"] = of_bytes(members["config.json"], rng)
    elif kind == 2:
        members["model.weights.h5"] = of_bytes(members["model.weights.h5"], rng)
    else:
        members["model.weights.h5"] = _damaged_weights(members["model.weights.h5"], rng)
    return _archive(members)


def _pick(item, rng):
    """Return an object of the tree: walk down at random."""
    while True:
        inside = [v for v in vars(item).values() if hasattr(v, "__dict__")]
        for value in vars(item).values():
            if isinstance(value, list):
                inside += [v for v in value if hasattr(v, "__dict__")]
        if not inside or (vars(item).get("name") is not None and rng.random() < 0.3):
            return item
        item = inside[rng.integers(len(inside))]


def _damage(item, rng):
    fields = sorted(k for k, v in vars(item).items() if v is not None)
    if not fields:
        return
    field = str(rng.choice(fields))
    value = getattr(item, field)
    if isinstance(value, bytes):
        setattr(item, field, _NAMES[rng.integers(len(_NAMES))])
    elif isinstance(value, bool | int):
        setattr(item, field, int(_NUMBERS[rng.integers(len(_NUMBERS))]))
    elif isinstance(value, float):
        setattr(item, field, float(rng.choice([0, -1, np.nan, np.inf, 1e30])))
    elif isinstance(value, np.ndarray):
        setattr(item, field, _damaged_array(value, rng))
    elif isinstance(value, list) and value:
        place = int(rng.integers(len(value)))
        if rng.random() < 0.5:
            del value[place]
        else:
            value.insert(int(rng.integers(len(value))), value[place])
    elif hasattr(value, "__dict__"):
        setattr(item, field, None)


def _damaged_array(value, rng):
    kind = rng.integers(4)
    if kind == 0 or not value.size:
        return None
    if kind == 1:
        return value[: int(rng.integers(value.size))]
    if kind == 2:
        return np.concatenate([value, value])
    value = value.copy()
    number = _NUMBERS[rng.integers(len(_NUMBERS))]
    value[rng.integers(value.size)] = np.array(number).astype(value.dtype)
    return value


def _damage_json(value, rng):
    while True:
        keys = sorted(value) if isinstance(value, dict) else list(range(len(value)))
        if not keys:
            return
        key = keys[rng.integers(len(keys))]
        if isinstance(value[key], dict | list) and rng.random() < 0.8:
            value = value[key]
            continue
        odd = [None, -1, 0, 1e308, "", "\x1b[2J", [], {}, [[]], {"a": None}, 2**70]
        value[key] = odd[rng.integers(len(odd))]
        return


def _damaged_weights(contents, rng):
    stream = io.BytesIO(contents)
    with h5py.File(stream, "r+") as file:
        names = []
        file.visititems(lambda n, v: names.append(n) if hasattr(v, "dtype") else None)
        name = names[rng.integers(len(names))]
        odd = [
            np.zeros((0, 4), "f4"),
            np.zeros((2, 3, 4, 5, 6), "f4"),
            np.array([b"text"]),
            np.zeros((3, 3), [("a", "i4")]),
            np.float32(3),
            np.full((8, 8), np.nan, "f4"),
        ]
        del file[name]
        if rng.random() < 0.8:
            file[name] = odd[rng.integers(len(odd))]
    return stream.getvalue()


def _members(contents):
    with zipfile.ZipFile(io.BytesIO(contents)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _archive(members):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return stream.getvalue()
