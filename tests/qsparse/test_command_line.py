"""The `qsparse` command: what it prints, where, and how it ends."""

import contextlib
import importlib
import io
import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers

import qsparse
from qsparse import cli
from qsparse.callbacks import Prune
from qsparse.tflite_export.files.model_file import ModelFile
from qsparse.tflite_export.files.plain_text import shorten
from tests.conftest import compiled

# Nobody may write there, not even the superuser.
CLOSED = "/proc"


@pytest.fixture(scope="module")
def folder(images, tmp_path_factory):
    """Return a folder with a small pruned model, its file and its data."""
    folder = tmp_path_factory.mktemp("command")
    keras.utils.set_random_seed(1)
    x, y = images[0][:256], images[1][:256]
    body = [keras.Input((28, 28, 1)), layers.Flatten(), layers.Dense(16, "relu")]
    model = compiled(keras.Sequential([*body, layers.Dense(12)]))
    model.fit(x, y, verbose=0, callbacks=[Prune()])
    model.save(folder / "m.keras")
    qsparse.export(model, folder / "m.tflite", x[:32])
    np.savez(folder / "m.npz", x=x[:16], y=y[:16])
    return folder


def run(*command):
    """Run a command in this process; return its code, output and errors."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main([str(word) for word in command])
    return code, out.getvalue(), err.getvalue()


def test_version_is_told(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"qsparse {qsparse.__version__}\n"


@pytest.mark.parametrize("columns", [80, 100, 160])
def test_inspection_fits_the_terminal(columns, folder, tmp_path, monkeypatch):
    file = ModelFile(folder / "m.tflite")
    metadata = file.metadata()
    long = "encoder/" + "block_with_a_long_name/" * 8 + "query"
    metadata["layers"][0]["path"] = long
    file.set_metadata(metadata)
    path = tmp_path / f"{'a_file_with_a_long_name' * 6}.tflite"
    path.write_bytes(file.to_bytes())
    monkeypatch.setenv("COLUMNS", str(columns))
    code, out, _ = run("inspect", path)
    assert code == 0
    assert max(map(len, out.splitlines())) <= columns
    (row,) = [line for line in out.splitlines() if "encod" in line]
    assert "…" in row and "query" in row
    assert "FULLY_CONNECTED int8" in out and "784x16" not in out and "16x784" in out
    assert f"{784 * 16 + 16 * 12:,} MACs, 100.0% of them in int8" in out


def test_shortening_keeps_both_ends():
    assert shorten("short", 5) == "short"
    assert shorten("encoder/layer_11/attention/query", 16) == "encod…tion/query"
    assert [len(shorten("x" * 50, width)) for width in (5, 16, 49)] == [5, 16, 49]


def test_json_is_all_that_is_printed(folder, tmp_path):
    def strict(text):
        return json.loads(text, parse_constant=lambda name: pytest.fail(name))

    file = ModelFile(folder / "m.tflite")
    file.set_metadata(file.metadata() | {"odd": [float("nan"), float("inf"), 1.5]})
    odd = tmp_path / "odd.tflite"
    odd.write_bytes(file.to_bytes())
    data = ["--data", folder / "m.npz"]
    for command in (
        ["inspect", odd],
        ["bench", folder / "m.tflite", "--rounds", "2", "--per-layer"],
        ["verify", folder / "m.keras", folder / "m.tflite", *data],
    ):
        code, out, err = run(*command, "--json")
        assert code in (0, 1) and err == ""
        found = strict(out)
        if command[0] == "inspect":
            assert found["metadata"]["odd"] == [None, None, 1.5]


def test_swapped_files_are_named(folder):
    keras_file, file = folder / "m.keras", folder / "m.tflite"
    code, out, err = run("verify", file, keras_file, "--data", folder / "m.npz")
    assert (code, out) == (2, "")
    assert f"{file} is an exported file" in err and f"{keras_file} {file}" in err


@pytest.mark.parametrize(
    "command",
    [
        ["pack", "absent.tflite", f"{CLOSED}/m.qsp"],
        ["unpack", "absent.qsp", f"{CLOSED}/m.tflite"],
        ["demo", "--output", f"{CLOSED}/demo"],
        [
            *("verify", "absent.keras", "absent.tflite", "--data", "absent.npz"),
            *("--html", f"{CLOSED}/report.html"),
        ],
    ],
)
def test_a_closed_folder_is_noticed_before_the_work(command):
    code, out, err = run(*command)
    assert (code, out) == (2, "")
    assert f"cannot write to the folder '{CLOSED}" in err and err.count("\n") == 1


def test_export_notices_a_closed_folder_before_it_reads_data(folder):
    model = keras.models.load_model(folder / "m.keras", compile=False)

    def data():
        pytest.fail("the data was read")
        yield

    with pytest.raises(OSError, match=f"cannot write to the folder '{CLOSED}'"):
        qsparse.export(model, f"{CLOSED}/m.tflite", data())


def test_a_folder_in_the_place_of_a_file_is_noticed(folder, tmp_path):
    (tmp_path / "m.qsp").mkdir()
    code, _, err = run("pack", folder / "m.tflite", tmp_path / "m.qsp")
    assert code == 2 and "m.qsp' is a folder" in err


def test_a_bound_that_no_difference_can_pass_is_refused(folder):
    files = [folder / "m.keras", folder / "m.tflite", "--data", folder / "m.npz"]
    for bound in ("nan", "-1"):
        code, _, err = run("verify", *files, f"--max-lsb={bound}")
        assert code == 2 and "--max-lsb must be 0 or more" in err


def test_a_reader_that_goes_away_ends_the_command_quietly(folder):
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", cli.__name__, "inspect", folder / "m.keras", "--json"],
        stdout=write,
        stderr=subprocess.PIPE,
        check=False,
        timeout=120,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


def test_ctrl_c_ends_the_command_quietly(folder, monkeypatch):
    def interrupted(path):
        raise KeyboardInterrupt

    module = importlib.import_module("qsparse.tflite_export.inspect")
    monkeypatch.setattr(module, "inspect_file", interrupted)
    code, out, err = run("inspect", folder / "m.tflite")
    assert (code, out, err) == (130, "", "")


def test_packages_are_attributes_and_typos_are_guessed():
    script = (
        "import qsparse\n"
        "assert qsparse.tflite_export.Interpreter\n"
        "assert qsparse.callbacks.PruneThenQuantize and qsparse.recipes.__name__\n"
        "assert {'callbacks', 'recipes', 'tflite_export'} < set(dir(qsparse))\n"
        "qsparse.exprot"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    last = done.stderr.splitlines()[-1]
    assert last.startswith("AttributeError: module 'qsparse' has no attribute 'exprot'")
    assert "'export'" in last


def test_preview_shows_a_recipe_without_training(folder, tmp_path):
    before = (folder / "m.keras").read_bytes()
    plain = keras.Sequential(
        [keras.Input((16,)), layers.Dense(8, name="body"), layers.Dense(4, name="end")]
    )
    plain.save(tmp_path / "plain.keras")
    recipe = qsparse.Recipe("4x4", rules=[qsparse.Rule(role="last", pattern="2:4")])
    (tmp_path / "recipe.json").write_text(json.dumps(recipe.to_dict()))

    code, out, err = run(
        "preview", tmp_path / "plain.keras", "--recipe", tmp_path / "recipe.json"
    )
    assert (code, err) == (0, "")
    assert out == f"{qsparse.preview(plain, recipe)}\n"
    command = ["preview", tmp_path / "plain.keras", "--json", "--set", "pattern=2:4"]
    code, out, err = run(*command, "--set", 'rules=[{"path":"end","quantize":false}]')
    assert (code, err) == (0, "")
    body, end = json.loads(out)["layers"]
    assert (body["pattern"], body["sparsity"], body["format"]) == ("2:4", 0.5, "int8")
    assert (end["pattern"], end["format"], end["rules"]) == ("2:4", "float", [1])
    # A compressed model shows what the other recipe would do.
    code, out, _ = run("preview", folder / "m.keras", "--set", "pattern=2:4")
    assert code == 0 and "2:4" in out and "4x4" not in out
    assert (folder / "m.keras").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "pattern"], "--set takes KEY=VALUE"),
        (["--set", "patern=2:4"], "that is `pattern` here"),
        (["--set", "sparsity=75"], "Write 0.75 for 75%"),
        (["--set", 'rules=[{"path":"hea","quantize":false}]'], "matches no layer"),
        (["--set", "rules=3"], "`rules` must be a list"),
        (["--recipe", "nowhere.json"], "No such file"),
    ],
)
def test_preview_refuses_in_one_line(words, message, folder):
    code, out, err = run("preview", folder / "m.keras", *words)
    assert (code, out) == (2, "") and len(err.splitlines()) == 1
    assert message in err


def test_preview_refuses_what_is_no_recipe(folder, tmp_path):
    for text, message in (("[1]", "is no JSON object"), ("{", "is no JSON")):
        (tmp_path / "r.json").write_text(text)
        words = ["--recipe", tmp_path / "r.json"]
        code, _, err = run("preview", folder / "m.keras", *words)
        assert code == 2 and message in err
