"""Files that are damaged, hostile or strangely named end in one line, never worse."""

import contextlib
import io
import json
import re

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from keras import layers

import qsparse
from qsparse import cli
from qsparse.callbacks import PruneThenQuantize
from qsparse.tflite_export import inspect_file, pack
from qsparse.tflite_export.files.model_file import ModelFile
from qsparse.tflite_export.files.model_file import pack as to_file
from qsparse.tflite_export.runtime.apart import check_runs, plan_apart
from tests.conftest import compiled
from tests.tflite_export import mutations
from tests.tflite_export.raw_files import RawFile


@pytest.fixture(scope="module")
def folder(images, tmp_path_factory):
    """Return a folder with one small trained model in every kind of file."""
    folder = tmp_path_factory.mktemp("damaged")
    keras.utils.set_random_seed(1)
    x, y = images[0][:256], images[1][:256]
    body = [
        keras.Input((28, 28, 1)),
        layers.Conv2D(8, 3, strides=4, activation="relu"),
        layers.Conv2D(8, 3, strides=2, activation="relu"),
        layers.Flatten(),
        layers.Dense(12),
    ]
    model = compiled(keras.Sequential(body))
    model.fit(x, y, verbose=0, callbacks=[PruneThenQuantize()])
    model.save(folder / "m.keras")
    qsparse.export(model, folder / "m.tflite", x[:32])
    pack(folder / "m.tflite", folder / "m.qsp")
    np.savez_compressed(folder / "m.npz", x=x[:16], y=y[:16])
    return folder


def run(*command):
    """Run a command in this process; return its code, output and errors."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main([str(word) for word in command])
    return code, out.getvalue(), err.getvalue()


def check(command, seed):
    """Run a command; check that it ends as it should, whatever its file holds."""
    code, out, err = run(*command)
    assert code in (0, 1, 2), seed
    if code == 2:
        assert re.fullmatch(r"qsparse: error: [^\n]+\n", err), (seed, err)
    else:
        assert err == "", seed
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", out + err), seed
    return code


def commands(kind, folder, path, seed):
    """Return what is done with a damaged file."""
    keras_file, data = folder / "m.keras", folder / "m.npz"
    if kind == "npz":  # what survives is not run: the model is missing
        return ["verify", folder / "absent.keras", folder / "m.tflite", "--data", path]
    if kind == "tflite" and seed % 8 == 6:
        return ["bench", path, "--rounds", "1"]
    if kind == "tflite" and seed % 40 == 17:
        return ["verify", keras_file, path, "--data", data]
    return ["inspect", path]


@pytest.mark.parametrize(
    "kind, damage, count",
    [
        ("tflite", mutations.of_bytes, 60),
        ("tflite", mutations.of_tflite, 60),
        ("qsp", mutations.of_bytes, 200),
        ("keras", mutations.of_bytes, 200),
        ("keras", mutations.of_keras, 200),
        ("npz", mutations.of_bytes, 200),
        ("npz", mutations.of_npz, 200),
    ],
)
def test_damaged_files_end_in_one_line(kind, damage, count, folder, tmp_path):
    contents = (folder / f"m.{kind}").read_bytes()
    path = tmp_path / f"d.{kind}"
    codes = set()
    for seed in range(count):
        path.write_bytes(damage(contents, np.random.default_rng(seed)))
        codes.add(check(commands(kind, folder, path, seed), seed))
    assert 2 in codes


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda g: g.operators[0].inputs.__setitem__(1, -3), "input of op 0: -3"),
        (lambda g: g.operators[0].outputs.__setitem__(0, 99), "output of op 0: 99"),
        (lambda g: setattr(g.operators[0], "opcodeIndex", 77), "kind of op 0: 77"),
        (lambda g: setattr(g.tensors[1], "buffer", 500), "buffer of tensor 1: 500"),
        (lambda g: setattr(g, "inputs", np.array([-1], np.int32)), "input -1 does not"),
        (lambda g: _layer(g).shape.__setitem__(1, 9), "72 bytes instead of 216"),
        (lambda g: _layer(g).shape.__setitem__(1, -8), r"has shape \(8, -8, 3, 1\)"),
        (
            lambda g: setattr(_layer(g), "shape", np.array([8, 9], np.int32)),
            "needs 4 dimensions",
        ),
        (lambda g: _scale(_layer(g), np.nan), "8 scales"),
        (
            lambda g: setattr(_layer(g).quantization, "scale", np.ones(3, np.float32)),
            "3 scales and 8 zero points along axis 0",
        ),
    ],
)
def test_what_is_wrong_is_found_when_a_file_is_read(damage, message, folder):
    contents = bytearray((folder / "m.tflite").read_bytes())
    tree = schema.ModelT.InitFromPackedBuf(contents)
    damage(tree.subgraphs[0])
    with pytest.raises(ValueError, match=f"is damaged or truncated.*{message}"):
        ModelFile(to_file(tree))


def _layer(graph):
    return graph.tensors[graph.operators[0].inputs[1]]


def _scale(tensor, value):
    tensor.quantization.scale[0] = value


def test_names_that_are_not_utf8_are_read(folder, tmp_path):
    tree = schema.ModelT.InitFromPackedBuf(
        bytearray((folder / "m.tflite").read_bytes())
    )
    _layer(tree.subgraphs[0]).name = b"a\xff[/bold]\x1b[2Jb/kernel"
    tree.metadata = None
    path = tmp_path / "m.tflite"
    path.write_bytes(to_file(tree))
    assert ModelFile(path).ops[0].weights.name == "a\\xff[/bold]\x1b[2Jb/kernel"
    code, out, err = run("inspect", path)
    assert code == 0 and err == ""
    assert "a\\xff[/bold]\\x1b[2Jb" in out and "\x1b" not in out


def test_paths_are_printed_as_they_are(folder, tmp_path):
    place = tmp_path / "exp[final] [bold] :fire: \x1b[2J"
    place.mkdir()
    for name in ("m.tflite", "m.keras"):
        (place / name).write_bytes((folder / name).read_bytes())
    shown = "exp[final] [bold] :fire: \\x1b[2J"
    outputs = [
        run("inspect", place / "absent.tflite")[2],
        run("pack", place / "m.tflite", place / "m.qsp")[1],
    ]
    for text in outputs:
        assert shown in text and "\x1b" not in text
    for name in ("m.tflite", "m.keras"):
        code, out, _ = run("inspect", place / name)
        assert code == 0 and f"\\x1b[2J/{name}" in out and "\x1b" not in out
    model = keras.models.load_model(folder / "m.keras", compile=False)
    data = np.load(folder / "m.npz")["x"]
    report = str(qsparse.export(model, place / "again.tflite", data))
    assert shown in re.sub(r" *\n *", " ", report)


def test_a_file_on_which_litert_dies_is_still_read(folder, tmp_path, monkeypatch):
    from qsparse.tflite_export.runtime import apart

    monkeypatch.setattr(apart, "_PROGRAM", ("-c", "import os; os.abort()"))
    path = folder / "m.tflite"
    with pytest.raises(ValueError, match=r"LiteRT died on .*m.tflite \(SIGABRT\)"):
        check_runs(path)
    code, out, err = run("inspect", path, "--json")
    assert code == 2 and err.startswith("qsparse: error: LiteRT died on ")
    found = json.loads(out)
    assert [layer["kernel"] for layer in found["layers"]] == [None] * 3
    assert found["problem"] in err
    code, out, _ = run("bench", path)
    assert code == 2 and out == ""


def test_a_file_that_keeps_litert_busy_is_given_up(folder, monkeypatch):
    from qsparse.tflite_export.runtime import apart

    monkeypatch.setattr(apart, "_PROGRAM", ("-c", "import time; time.sleep(60)"))
    with pytest.raises(ValueError, match="did not finish with .* in 0.5 seconds"):
        plan_apart(folder / "m.tflite", seconds=0.5)


def test_a_file_that_litert_refuses_is_still_read(tmp_path):
    file = RawFile()
    graph = file.graph()
    x, out = graph.input((1, 4)), graph.tensor((1, 3))
    graph.op("FULLY_CONNECTED", [x, graph.tensor((3, 5), data=1), -1], [out])
    graph.tree.outputs = [out]
    path = tmp_path / "refused.tflite"
    path.write_bytes(file.to_bytes())
    found = inspect_file(path)
    assert found.layers[0].shape == (3, 5)
    assert "LiteRT cannot" in found.problem
    code, out, err = run("inspect", path)
    assert code == 2 and "3x5" in out and err.count("\n") == 1


@pytest.mark.parametrize(
    "option, value, message",
    [
        ("--threads", 10**12, "threads must be at most 256, got 1000000000000"),
        ("--threads", 0, "threads must be at least 1, got 0"),
        ("--rounds", 10**12, "rounds must be at most 1,000,000"),
    ],
)
def test_numbers_out_of_range_are_named(option, value, message, folder):
    code, out, err = run("bench", folder / "m.tflite", option, value)
    assert (code, out) == (2, "") and message in err
