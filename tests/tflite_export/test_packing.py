"""Packed files: they give back every byte, are small, and cannot do harm."""

import hashlib
import json
import re
import struct

import keras
import numpy as np
import pytest
import zstandard
from keras import layers

import qsparse
from benchmarks.one_op_models import fully_connected_model
from qsparse import cli
from qsparse.callbacks import PruneThenQuantize
from qsparse.tflite_export import (
    Interpreter,
    benchmark,
    inspect_file,
    pack,
    unpack,
)
from qsparse.tflite_export.files import qsp
from qsparse.tflite_export.files.constants import Constant, find_constants
from qsparse.tflite_export.files.qsp import pack_bytes, unpack_bytes
from qsparse.tflite_export.files.tiles import TILES, cut, join, tile_count
from qsparse.tflite_export.runtime.interpreter import plain_interpreter, read_plan
from tests.conftest import compiled
from tests.tflite_export import models

HEADER = "<8sIIQQQ32s"
ARRAY = "<QIIBBBx"


def trained(images, pattern):
    """Train a pruned, quantized classifier of 200,000 weights."""
    keras.utils.set_random_seed(7)
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Flatten(),
            layers.Dense(256, activation="relu"),
            layers.Dense(12),
        ]
    )
    model = compiled(model)
    callback = PruneThenQuantize(pattern=pattern)
    model.fit(*images, epochs=2, verbose=0, callbacks=[callback])
    return model


@pytest.fixture(scope="module")
def folder(images, tmp_path_factory):
    """Return a folder of exported files: two trained sparse ones, a dense one."""
    folder = tmp_path_factory.mktemp("packing")
    data = images[0][:8]
    for name, pattern in (("fine", qsparse.NM(2, 4)), ("block", qsparse.Block((4, 4)))):
        qsparse.export(trained(images, pattern), folder / f"{name}.tflite", data)
    dense = models.build(models.sequential_cnn, data)
    qsparse.export(dense, folder / "dense.tflite", data)
    for name in ("fine", "block", "dense"):
        pack(folder / f"{name}.tflite", folder / f"{name}.qsp")
    return folder


def gaussian(pattern, outputs=512, inputs=512, seed=0):
    """Return int8 weights as training leaves them: normal, pruned, scaled."""
    values = np.random.default_rng(seed).normal(size=(outputs, inputs))
    if pattern == "2:4":
        groups = np.abs(values).reshape(-1, 4)
        kept = groups >= np.sort(groups, axis=1)[:, 2:3]
        values *= kept.reshape(values.shape)
    elif pattern == "4x4":
        tiles = np.abs(values).reshape(outputs // 4, 4, inputs // 4, 4).sum((1, 3))
        kept = tiles >= np.quantile(tiles, 0.75)
        values *= kept.repeat(4, 0).repeat(4, 1)
    largest = np.abs(values).max(axis=1, keepdims=True)
    return np.rint(values / np.where(largest, largest, 1) * 127).astype(np.int8)


@pytest.fixture(scope="module")
def small():
    """Return a .tflite file of a few kB that has sparse arrays, and its packed form."""
    contents = fully_connected_model(gaussian("4x4", 32, 64)).content
    return contents, pack_bytes(contents)


@pytest.mark.parametrize("name", ["fine", "block", "dense"])
def test_unpacking_gives_the_file_back(name, folder, tmp_path):
    original = (folder / f"{name}.tflite").read_bytes()
    sizes = unpack(folder / f"{name}.qsp", tmp_path / "m.tflite")
    assert (tmp_path / "m.tflite").read_bytes() == original
    assert sizes.size_bytes == len(original)
    assert sizes.packed_bytes == (folder / f"{name}.qsp").stat().st_size
    assert sizes.packed_bytes < len(zstandard.compress(original, 19)) + 72 + 20


def decode(packed):
    """Unpack from the documented layout alone, one byte after another."""
    _, version, count, size, stream_size, original, digest = struct.unpack(
        HEADER, packed[:72]
    )
    stream = zstandard.decompress(packed[72:])
    assert (version, size, stream_size) == (1, len(packed), len(stream))
    arrays = [struct.unpack(ARRAY, stream[20 * i : 20 * i + 20]) for i in range(count)]
    inside = set()
    for offset, rows, columns, width, _, _ in arrays:
        inside |= set(range(offset, offset + rows * columns * width))
    result = bytearray(original)
    cursor = 20 * count
    for position in range(original):
        if position not in inside:
            result[position] = stream[cursor]
            cursor += 1
    bits = []
    for _, rows, columns, _, height, across in arrays:
        tiles = rows // height * (columns // across)
        used = -(-tiles // 8)
        text = "".join(f"{byte:08b}" for byte in stream[cursor : cursor + used])
        bits.append(text[:tiles])
        cursor += used
    for (offset, _, columns, width, height, across), text in zip(
        arrays, bits, strict=True
    ):
        elements = text.count("1") * height * across
        planes = [stream[cursor + p * elements :][:elements] for p in range(width)]
        cursor += elements * width
        element = 0
        for tile, bit in enumerate(text):
            if bit == "0":
                continue
            top, left = divmod(tile, columns // across)
            for inner in range(height * across):
                row = top * height + inner // across
                column = left * across + inner % across
                start = offset + (row * columns + column) * width
                for plane in range(width):
                    result[start + plane] = planes[plane][element]
                element += 1
    assert cursor == len(stream)
    assert hashlib.sha256(result).digest() == digest
    return bytes(result), {(width, *tile) for _, _, _, width, *tile in arrays}


def test_layout_is_as_documented(small, folder):
    contents, packed = small
    result, kinds = decode(packed)
    assert result == contents and (1, 4, 4) in kinds
    contents = (folder / "fine.tflite").read_bytes()
    result, kinds = decode((folder / "fine.qsp").read_bytes())
    assert result == contents and (1, 1, 1) in kinds


@pytest.mark.parametrize("pattern, share", [("2:4", 0.66), ("4x4", 0.33)])
def test_targets_with_normal_weights(pattern, share):
    weights = gaussian(pattern)
    contents = fully_connected_model(weights).content
    assert np.mean(weights == 0) >= {"2:4": 0.5, "4x4": 0.75}[pattern]
    packed = len(pack_bytes(contents))
    assert packed <= share * weights.size  # the whole file, scales and names included
    assert packed < 0.95 * len(zstandard.compress(contents, 19))


@pytest.mark.parametrize("name, share", [("fine", 0.66), ("block", 0.33)])
def test_targets_with_trained_weights(name, share, folder):
    found = inspect_file(folder / f"{name}.tflite").layers
    dense_bytes = sum(np.prod(layer.shape) for layer in found)
    assert max(layer.sparsity for layer in found) >= 0.5
    assert (folder / f"{name}.qsp").stat().st_size <= share * dense_bytes


def test_tiles_of_random_arrays_join_again():
    rng = np.random.default_rng(3)
    for _ in range(200):
        tile = TILES[rng.integers(len(TILES))]
        rows, columns = tile * rng.integers(1, 9, 2)
        constant = Constant(0, int(rows), int(columns), int(rng.choice([1, 2, 4, 8])))
        data = rng.integers(0, 256, constant.size).astype(np.uint8)
        data *= rng.random(constant.size) < rng.choice([0, 0.05, 0.5, 1])
        tiled = cut(data, constant, tile)
        assert tiled.values.size == tiled.kept.sum() * np.prod(tile) * constant.width
        np.testing.assert_array_equal(join(tiled, constant), data)
    assert tile_count(Constant(0, 6, 8, 1), (4, 4)) == 0
    assert tile_count(Constant(0, 8, 8, 1), (4, 4)) == 4


def test_constants_are_where_litert_reads_them(folder):
    path = folder / "fine.tflite"
    contents = path.read_bytes()
    interpreter = plain_interpreter(path)
    stored = {
        contents[c.offset : c.offset + c.size] for c in find_constants(contents, "m")
    }
    for layer in inspect_file(path).layers:
        index = next(
            entry["index"]
            for entry in interpreter.get_tensor_details()
            if tuple(entry["shape"]) == layer.shape and entry["dtype"] == np.int8
        )
        assert interpreter.get_tensor(index).tobytes() in stored


def test_any_damaged_model_is_refused_or_comes_back(small):
    contents, _ = small
    outcomes = set()
    for seed in range(100):
        rng = np.random.default_rng(seed)
        damaged = bytearray(contents)
        for position in rng.integers(8, len(contents), 3 ** (seed % 5)):
            damaged[position] = rng.integers(256)
        try:
            assert unpack_bytes(pack_bytes(bytes(damaged))) == damaged
            outcomes.add("packed")
        except ValueError as error:
            assert str(error).startswith("<bytes> is damaged or truncated")
            outcomes.add("refused")
    assert outcomes == {"packed", "refused"}


def test_every_truncation_is_refused(small, tmp_path):
    _, packed = small
    for size in range(len(packed)):
        with pytest.raises(ValueError, match="<bytes> is (truncated|not a packed)"):
            unpack_bytes(packed[:size])
    with pytest.raises(ValueError, match="truncated or damaged"):
        unpack_bytes(packed + b"\0")


def test_every_flipped_byte_is_refused(small):
    contents, packed = small
    refused = 0
    for position in range(len(packed)):
        damaged = bytearray(packed)
        damaged[position] ^= 1 << position % 8
        try:
            assert unpack_bytes(bytes(damaged)) == contents
        except ValueError as error:
            assert str(error).startswith("<bytes> ")
            refused += 1
    assert refused >= len(packed) - 8  # zstd leaves a bit or two unused


def wrapped(stream, count, original, digest=bytes(32)):
    """Return a file whose sizes are right, whatever is in its stream."""
    frame = zstandard.compress(stream)
    sizes = (72 + len(frame), len(stream), original)
    return struct.pack(HEADER, b"QSPARSE\x1a", 1, count, *sizes, digest) + frame


def test_every_wrong_stream_is_refused(small):
    """Behind a valid frame, damage reaches the reader of the stream."""
    contents, packed = small
    count = struct.unpack_from("<I", packed, 12)[0]
    digest = hashlib.sha256(contents).digest()
    stream = zstandard.decompress(packed[72:])
    assert unpack_bytes(wrapped(stream, count, len(contents), digest)) == contents
    causes = set()
    for position in range(len(stream)):
        for change in (1, 0x80, 0xFF):
            wrong = bytearray(stream)
            wrong[position] ^= change
            try:
                found = unpack_bytes(
                    wrapped(bytes(wrong), count, len(contents), digest)
                )
                assert found == contents  # a bit that is not used
            except ValueError as error:
                assert str(error).startswith("<bytes> is damaged: ")
                causes.add(re.sub("[0-9].*", "", str(error)))
    assert len(causes) == 3  # the table, the lengths, the checksum
    for size in range(len(stream)):
        with pytest.raises(ValueError, match="is damaged"):
            unpack_bytes(wrapped(stream[:size], count, len(contents), digest))
    for wrong_count in (0, count - 1, count + 1, 2**16):
        with pytest.raises(ValueError, match="is damaged"):
            unpack_bytes(wrapped(stream, wrong_count, len(contents), digest))
    with pytest.raises(ValueError, match="65537 arrays, where 65536 are allowed"):
        unpack_bytes(wrapped(stream, 2**16 + 1, len(contents), digest))
    with pytest.raises(ValueError, match="1 bytes too many"):
        unpack_bytes(wrapped(stream + b"\0", count, len(contents), digest))


def test_small_files_cannot_grow_without_bound(small):
    _, packed = small
    bomb = wrapped(bytes(80 << 20), 0, 80 << 20)
    assert len(bomb) < 10_000
    with pytest.raises(ValueError, match=f"refused: {len(bomb)} bytes would grow"):
        unpack_bytes(bomb)
    for field in (24, 32):
        for claim in (2**27, 2**40, 2**64 - 1):
            wrong = bytearray(packed)
            struct.pack_into("<Q", wrong, field, claim)
            with pytest.raises(ValueError, match=f"would grow to {claim}"):
                unpack_bytes(bytes(wrong))
    # The header is modest, the frame is not.
    modest = bytearray(bomb)
    struct.pack_into("<QQ", modest, 24, 100, 100)
    with pytest.raises(ValueError, match=f"damaged: {80 << 20} bytes instead of 100"):
        unpack_bytes(bytes(modest))
    # A frame that does not say how large it is.
    stream = zstandard.ZstdCompressor().compressobj()
    frame = stream.compress(bytes(100)) + stream.flush()
    header = struct.pack(
        HEADER, b"QSPARSE\x1a", 1, 0, 72 + len(frame), 100, 100, bytes(32)
    )
    with pytest.raises(ValueError, match="instead of 100"):
        unpack_bytes(header + frame)


def test_what_would_be_refused_is_not_packed(monkeypatch):
    monkeypatch.setattr(qsp, "_ALWAYS", 1 << 20)
    zeros = fully_connected_model(np.zeros((4, 1 << 19), np.int8)).content
    with pytest.raises(ValueError, match="<bytes> is refused: .* would grow"):
        pack_bytes(zeros)


def test_errors_name_the_file_and_write_nothing(small, folder, tmp_path):
    contents, packed = small
    newer = bytearray(packed)
    newer[8] = 2
    cases = {
        "newer.qsp": (bytes(newer), "has format 2, this version of qsparse reads 1"),
        "plain.qsp": (contents, "is not a packed model"),
        "empty.qsp": (b"", "is not a packed model"),
        "cut.qsp": (packed[:-9], "is truncated or damaged"),
        "sum.qsp": (packed[:40] + bytes(32) + packed[72:], "checksum"),
    }
    for name, (damaged, message) in cases.items():
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(ValueError, match=f"{name} .*{message}"):
            unpack(tmp_path / name, tmp_path / "m.tflite")
        if damaged != contents:
            with pytest.raises(ValueError, match=f"{name} "):
                Interpreter(tmp_path / name)
    with pytest.raises(ValueError, match="must end in .qsp, got"):
        pack(folder / "fine.tflite", tmp_path / "m.tflite")
    with pytest.raises(ValueError, match="must end in .tflite, got"):
        unpack(folder / "fine.qsp", tmp_path / "m.qsp")
    with pytest.raises(ValueError, match="fine.qsp is not a LiteRT model"):
        pack(folder / "fine.qsp", tmp_path / "m.qsp")
    with pytest.raises(FileNotFoundError, match="Create it first"):
        pack(folder / "fine.tflite", tmp_path / "absent" / "m.qsp")
    assert {path.name for path in tmp_path.iterdir()} == set(cases)


@pytest.mark.parametrize("name", ["fine", "block", "dense"])
def test_packed_files_run_as_the_others(name, folder, test_images):
    before = sorted(folder.iterdir())
    packed = folder / f"{name}.qsp"
    runners = [
        plain_interpreter(folder / f"{name}.tflite"),
        plain_interpreter(packed),
        Interpreter(packed, min_gain=0),
        Interpreter(packed.read_bytes(), dense=True),
    ]
    image = np.rint(test_images[0][:1] * 255 - 128).astype(np.int8)
    outputs = []
    for runner in runners:
        runner.allocate_tensors()
        runner.set_tensor(runner.get_input_details()[0]["index"], image)
        runner.invoke()
        outputs.append(runner.get_tensor(runner.get_output_details()[0]["index"]))
    for output in outputs[1:]:
        np.testing.assert_array_equal(output, outputs[0])
    assert len(np.unique(outputs[0])) > 3
    assert sorted(folder.iterdir()) == before


def test_tools_take_packed_files(folder):
    lite, packed = (inspect_file(folder / f"fine.{kind}") for kind in ("tflite", "qsp"))
    assert packed.layers == lite.layers and packed.metadata == lite.metadata
    assert packed.size_bytes < lite.size_bytes
    plan = read_plan(folder / "fine.qsp")
    assert plan == read_plan(folder / "fine.tflite") and plan
    report = benchmark(folder / "fine.qsp", rounds=2)
    assert report.name == "fine.qsp" and report.exact


def test_command_line(folder, tmp_path, capsys):
    source, packed = folder / "fine.tflite", tmp_path / "m.qsp"
    assert cli.main(["pack", str(source), str(packed)]) == 0
    shown = capsys.readouterr().out
    assert f"{packed.stat().st_size:,} bytes" in shown.replace("\n", "")
    assert cli.main(["unpack", str(packed), str(tmp_path / "m.tflite")]) == 0
    assert (tmp_path / "m.tflite").read_bytes() == source.read_bytes()
    capsys.readouterr()
    assert cli.main(["inspect", str(packed), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["path"] == str(packed)
    packed.write_bytes(packed.read_bytes()[:-1])
    for command in ("unpack", "inspect", "bench"):
        output = [str(tmp_path / "n.tflite")] if command == "unpack" else []
        assert cli.main([command, str(packed), *output]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"qsparse: error: {packed} is truncated or damaged")
        assert error.count("\n") == 1
    assert not (tmp_path / "n.tflite").exists()
