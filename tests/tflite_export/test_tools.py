"""Runtime, benchmark, inspection and the command line, on one trained model."""

import io
import json
import re
import subprocess
import sys
import zipfile

import h5py
import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter as Stock
from ai_edge_litert.interpreter import OpResolverType, load_delegate

import qsparse
from benchmarks import layers as bench_layers
from qsparse import cli
from qsparse.callbacks import PruneThenQuantize
from qsparse.tflite_export import (
    Interpreter,
    benchmark,
    delegate_library,
    inspect_file,
)
from qsparse.tflite_export.bench import benchmark_layers
from qsparse.tflite_export.files.patterns import detect_pattern
from qsparse.tflite_export.runtime.interpreter import read_plan
from tests.conftest import small_cnn
from tests.tflite_export import models


@pytest.fixture(scope="module")
def folder(images, tmp_path_factory):
    """Return a folder with m.keras and m.tflite of one pruned, quantized model."""
    folder = tmp_path_factory.mktemp("tools")
    model = small_cnn()
    x, y = images[0][:512], images[1][:512]
    model.fit(x, y, epochs=2, verbose=0, callbacks=[PruneThenQuantize()])
    model.save(folder / "m.keras")
    qsparse.export(model, folder / "m.tflite", x[:32], strict=True)
    return folder


def run(interpreter, image):
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def test_interpreter_gives_the_bytes_of_the_stock_one(folder, test_images):
    path = folder / "m.tflite"
    ours = Interpreter(path, min_gain=0)
    from_bytes = Interpreter(path.read_bytes(), num_threads=2, dense=True)
    stock = Stock(model_path=str(path))
    for image in test_images[0][:20]:
        quantized = np.rint(image[None] * 255 - 128).astype(np.int8)
        wanted = run(stock, quantized)
        np.testing.assert_array_equal(run(ours, quantized), wanted)
        np.testing.assert_array_equal(run(from_bytes, quantized), wanted)
    assert delegate_library().endswith("libqsparse_delegate.so")


def test_interpreter_errors_name_the_cause(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="absent.tflite"):
        Interpreter(tmp_path / "absent.tflite")
    cut = tmp_path / "cut.tflite"
    cut.write_bytes((folder / "m.tflite").read_bytes()[:2000])
    with pytest.raises(ValueError, match="cannot load .*cut.tflite"):
        Interpreter(cut)
    with pytest.raises(ValueError, match="<bytes> is not a LiteRT model: 4 bytes"):
        Interpreter(b"what")
    with pytest.raises(ValueError, match="unknown option 'speed'"):
        Interpreter(folder / "m.tflite", speed="high")


def test_interpreter_takes_what_its_base_class_takes(folder, test_images):
    path = folder / "m.tflite"
    quantized = np.rint(test_images[0][:1] * 255 - 128).astype(np.int8)
    wanted = run(Stock(model_path=str(path)), quantized)
    for arguments in (
        {"model_path": str(path)},
        {"model_path": path, "num_threads": None, "min_gain": 0},
        {"model_content": path.read_bytes(), "num_threads": 2},
        {
            "model_path": path,
            "experimental_op_resolver_type": OpResolverType.BUILTIN,
            "experimental_delegates": [
                load_delegate(delegate_library(), {"min_gain": "0"})
            ],
            "experimental_disable_delegate_clustering": True,
            "min_gain": 0,
        },
    ):
        np.testing.assert_array_equal(run(Interpreter(**arguments), quantized), wanted)
    # Without XNNPACK, LiteRT's own kernels run what is not ours.
    own = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    options = {
        "model_path": str(path),
        "experimental_op_resolver_type": own,
        "experimental_preserve_all_tensors": True,
    }
    wanted = run(Stock(**options), quantized).astype(int)
    assert abs(run(Interpreter(**options), quantized) - wanted).max() <= 1


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ({}, ValueError, "one of model, model_path and model_content, got 0"),
        ({"model": "a", "model_path": "b"}, ValueError, "got 2 of them"),
        ({"model": 3}, TypeError, "a path or the bytes .* got int"),
        ({"model": "a", "num_threads": 0}, ValueError, "from 1 to 256, got 0"),
        ({"model": "a", "num_threads": 10**12}, ValueError, "from 1 to 256, got 1000"),
        ({"model": "a", "num_threads": 1.5}, ValueError, "from 1 to 256, got 1.5"),
    ],
)
def test_wrong_arguments_of_the_interpreter_are_named(
    arguments, error, message, folder
):
    given = {
        k: folder / "m.tflite" if v in ("a", "b") else v for k, v in arguments.items()
    }
    with pytest.raises(error, match=message):
        Interpreter(**given)


def test_missing_library_says_how_to_build_it(folder, monkeypatch):
    from qsparse.tflite_export.runtime import interpreter

    monkeypatch.setattr(interpreter, "_LIBRARY", "libabsent.so")
    with pytest.raises(FileNotFoundError, match="libabsent.so is missing.*Build it"):
        Interpreter(folder / "m.tflite")


def test_plan_lists_every_candidate(folder):
    plan = read_plan(folder / "m.tflite", min_gain=0)
    assert [entry["op"] for entry in plan].count("CONV_2D") == 3
    assert all(entry["claimed"] for entry in plan)


def test_benchmark_is_interleaved_exact_and_complete(folder):
    report = benchmark(folder / "m.tflite", rounds=4, min_gain=0)
    assert report.exact and report.claimed >= 1
    assert report.name == "m.tflite" and report.rounds == 4
    assert all(report.min_us[v] <= report.median_us[v] for v in report.min_us)
    assert json.loads(json.dumps(report.to_dict())) == report.to_dict()
    with pytest.raises(ValueError, match="rounds must be at least 1, got 0"):
        benchmark(folder / "m.tflite", rounds=0)


def test_benchmark_of_single_layers(folder):
    reports = benchmark_layers(folder / "m.tflite", rounds=2)
    assert [r.name.split()[1] for r in reports].count("CONV_2D") == 3
    assert all(report.exact for report in reports)


def test_inspection_of_both_kinds_agrees(folder):
    lite, keras_file = (inspect_file(folder / f"m.{k}") for k in ("tflite", "keras"))
    assert {layer.layer for layer in lite.layers} == {
        layer.layer for layer in keras_file.layers
    }
    patterns = {layer.layer: layer.pattern for layer in keras_file.layers}
    for layer in lite.layers:
        assert patterns[layer.layer] == layer.pattern
        assert layer.format == "int8" and layer.kernel and layer.reason
    # A block in four of every row, as chance has it, is another name of the same.
    pruned = [re.sub(r"^\d+:\d+ of ", "", p) for p in patterns.values()]
    assert sorted(pruned) == ["4x4 blocks"] * 3 + ["dense"] * 2
    assert keras_file.metadata["pattern"] == {"name": "block", "shape": [4, 4]}
    assert {layer.format for layer in keras_file.layers} == {"int8"}
    macs = {layer.layer: layer.macs for layer in lite.layers}
    assert macs == {layer.layer: layer.macs for layer in keras_file.layers}


def test_inspection_of_a_plain_keras_file(folder, tmp_path):
    small_cnn().save(tmp_path / "plain.keras")
    found = inspect_file(tmp_path / "plain.keras")
    assert found.metadata is None and len(found.layers) == 5
    assert {layer.pattern for layer in found.layers} == {"dense"}
    assert {layer.format for layer in found.layers} == {"float"}


def test_macs_of_a_keras_file_know_transposed_and_channels_first(tmp_path):
    forward = keras.layers.Conv2D(
        6, 3, strides=2, data_format="channels_first", name="forward"
    )
    back = keras.layers.Conv2DTranspose(5, 3, strides=2, name="back")
    for layer, shape in ((forward, (None, 4, 9, 7)), (back, (None, 9, 7, 4))):
        model = keras.Sequential([keras.Input(shape[1:]), layer])
        model.save(tmp_path / f"{layer.name}.keras")
    (found,) = inspect_file(tmp_path / "forward.keras").layers
    assert found.macs == 4 * 3 * (3 * 3 * 4 * 6)
    (found,) = inspect_file(tmp_path / "back.keras").layers
    assert found.macs == 9 * 7 * (3 * 3 * 4 * 5)


def test_inspection_names_nested_layers(images, tmp_path):
    model = models.build(models.nested, images[0][:2])
    model.save(tmp_path / "nested.keras")
    found = {layer.layer for layer in inspect_file(tmp_path / "nested.keras").layers}
    inner = next(layer for layer in model.layers if hasattr(layer, "layers"))
    assert f"{inner.name}/{inner.layers[0].name}" in found
    assert model.layers[-1].name in found


@pytest.mark.parametrize(
    "make, name",
    [
        (lambda k: k, "dense"),
        (lambda k: k & False, "all zero"),
        (lambda k: _tiles(k, 4, 4), "4x4 blocks"),
        (lambda k: _tiles(k, 16, 4), "16x4 blocks"),
        (lambda k: _every(k, 2, 4), "2:4"),
        (lambda k: _every(k, 1, 8), "1:8"),
        (lambda k: _every(k[:, :, :16], 1, 4).repeat(4, 0).repeat(4, 2), "1:4 of 4x4"),
        (lambda k: np.random.default_rng(0).random(k.shape) < 0.3, "unstructured"),
    ],
)
def test_detected_patterns(make, name):
    assert detect_pattern(make(np.ones((64, 3, 64), bool))).startswith(name)


def _tiles(kept, rows, columns):
    rng = np.random.default_rng(1)
    shape = (kept.shape[0] // rows, kept.shape[1], kept.shape[2] // columns)
    return (rng.random(shape) < 0.25).repeat(rows, 0).repeat(columns, 2)


def _every(kept, most, size):
    rng = np.random.default_rng(2)
    order = rng.random((kept.size // size, size)).argsort(axis=1)
    return (order < most).reshape(kept.shape)


def test_command_line(folder, capsys):
    assert cli.main(["inspect", str(folder / "m.keras"), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["layers"]) == 5
    assert cli.main(["inspect", str(folder / "m.tflite")]) == 0
    assert "4x4 blocks" in capsys.readouterr().out
    command = ["bench", str(folder / "m.tflite"), "--rounds", "2", "--per-layer"]
    assert cli.main([*command, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 5
    assert cli.main(command) == 0
    assert "XNNPACK" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["inspect", "bench"])
@pytest.mark.parametrize("name", ["absent.tflite", "cut.tflite", "cut.keras", "a.txt"])
def test_bad_files_are_one_line_and_exit_code_2(command, name, folder, tmp_path, capfd):
    kind = name.rsplit(".", 1)[1]
    if name != "absent.tflite":
        source = folder / ("m.keras" if kind == "keras" else "m.tflite")
        (tmp_path / name).write_bytes(source.read_bytes()[:1500])
    assert cli.main([command, str(tmp_path / name)]) == 2
    shown = capfd.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("qsparse: error: ") and shown.err.count("\n") == 1


def test_command_without_arguments_shows_usage():
    with pytest.raises(SystemExit) as stop:
        cli.main([])
    assert stop.value.code == 2


def test_bench_layers_writes_its_files(tmp_path, capsys):
    assert bench_layers.main(["--output", str(tmp_path), "--rounds", "2"]) == 0
    rows = json.loads((tmp_path / "layers.json").read_text())
    assert [row["file"] for row in rows] == ["fc.tflite", "conv.tflite"]
    for row in rows:
        # Whether there is a gain depends on the CPU.
        (decision,) = read_plan(tmp_path / row["file"])
        assert row["exact"] and row["claimed"] == decision["claimed"]
        (layer,) = inspect_file(tmp_path / row["file"]).layers
        assert layer.pattern == "4x4 blocks"
        assert layer.sparsity == pytest.approx(0.75, abs=0.02)
    assert "faster than" in capsys.readouterr().out


def test_looking_at_files_does_not_import_tensorflow():
    script = (
        "import sys, qsparse\n"
        "before = 'tensorflow' in sys.modules\n"
        "import qsparse.tflite_export.bench, qsparse.tflite_export.inspect\n"
        "import qsparse.cli, qsparse.tflite_export.report.tables\n"
        "import qsparse.tflite_export.packing\n"
        "sys.exit(('tensorflow' in sys.modules) != before)"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


def test_hostile_keras_files_are_refused(folder, tmp_path):
    bomb = tmp_path / "bomb.keras"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", bytes(64 << 20))
    with pytest.raises(ValueError, match=r"bomb.keras is damaged.*would grow"):
        inspect_file(bomb)

    hollow = io.BytesIO()
    with h5py.File(hollow, "w") as file:
        file.create_dataset("layers/dense/vars/0", (1 << 20, 1 << 20), "f4")
    for config in ("{}", "[]", '{"config": {"layers": 5}}'):
        path = tmp_path / "hollow.keras"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", config)
            archive.writestr("model.weights.h5", hollow.getvalue())
        with pytest.raises(ValueError, match="hollow.keras is damaged"):
            inspect_file(path)
