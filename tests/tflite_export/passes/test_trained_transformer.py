"""A transformer trained in int8, its file, and the choices that the file holds."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

import qsparse
from qsparse.callbacks import PruneThenQuantize
from qsparse.engine.compressor import compressed_layers
from qsparse.tflite_export import verify_file
from qsparse.tflite_export.files.model_file import ModelFile
from tests.conftest import compiled
from tests.tflite_export.transformers import transformer


@pytest.fixture(scope="module")
def trained(images, rows, tmp_path_factory):
    """Return the folder of a trained transformer with outliers, and the model."""
    folder = tmp_path_factory.mktemp("transformer")
    keras.utils.set_random_seed(5)
    model = compiled(transformer(scale=30.0, neuron=8.0))
    x = images[0][:128, :, :, 0]
    y = np.repeat(images[1][:128, None], 28, axis=1)
    callback = PruneThenQuantize(exclude=["first"])
    model.fit(x, y, epochs=2, verbose=0, callbacks=[callback])
    model.save(folder / "m.keras")
    qsparse.export(model, folder / "m.tflite", rows)
    np.savez(folder / "data.npz", x=rows[:8])
    return folder, model


def test_a_normalization_reads_the_sum_that_training_let_it_read(trained, rows):
    """Training rounds what a sum takes, not what a normalization reads of a sum."""
    folder, model = trained
    (found,) = verify_file(model, folder / "m.tflite", rows).fidelity
    assert found.sqnr > 15  # 3.9 dB with every reader of the sums on their int8 grid


def test_trained_integers_are_those_of_the_file(trained):
    folder, model = trained
    file = ModelFile(folder / "m.tflite")
    tensors = {tensor.name: tensor for tensor in file.tensors}
    found = {entry["path"]: entry["tensor"] for entry in file.metadata()["layers"]}
    checked = 0
    for layer in compressed_layers(model):
        values, _ = layer.integer_weights()
        stored = tensors[found[layer.path_in_model]].data.reshape(values.shape)
        np.testing.assert_array_equal(stored, values)
        checked += 1
    assert checked >= 3


def test_a_file_is_verified_again(trained, rows):
    folder, _ = trained
    choices = ModelFile(folder / "m.tflite").metadata()["choices"]
    assert any(any(entry) for entry in choices.values())
    found = verify_file(folder / "m.keras", folder / "m.tflite", rows[:8])
    assert found.failures == []


def test_another_process_finds_the_same(trained):
    folder, _ = trained
    script = (
        "import sys, numpy as np; from qsparse.tflite_export import verify_file\n"
        "x = np.load('data.npz')['x']\n"
        "found = verify_file('m.keras', 'm.tflite', x)\n"
        "print(found.failures, max(t.local.max_lsb for t in found.tensors))"
    )
    result = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONHASHSEED": "7", "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert result.returncode == 0, result.stderr
    here = verify_file(
        folder / "m.keras", folder / "m.tflite", np.load(folder / "data.npz")["x"]
    )
    worst = max(t.local.max_lsb for t in here.tensors)
    assert result.stdout.split() == ["[]", str(worst)]


def changed_choices(choices, how):
    full = next(name for name, entry in choices.items() if any(entry))
    place = next(i for i, text in enumerate(choices[full]) if text)
    if how == "fewer":
        del choices[full]
    elif how == "more":
        choices["no_pass"] = []
    elif how == "list":
        return list(choices.values())[:-1]
    elif how == "short":
        choices[full][place] = choices[full][place][:8]
    elif how == "text":
        choices[full][place] = "no base64!"
    elif how == "zeros":
        choices[full][place] = "AAAA" * (len(choices[full][place]) // 4)
    elif how == "entry":
        choices[full].append("")
    elif how == "number":
        choices[full][place] = 7
    else:
        return {"null": None, "words": "words", "object": {"a": 1}}[how]
    return choices


@pytest.mark.parametrize(
    "how",
    [
        *("gone", "fewer", "more", "short", "text", "zeros", "entry", "number"),
        *("null", "words", "object", "list"),
    ],
)
def test_damaged_choices_are_refused(how, trained, rows, tmp_path):
    folder, model = trained
    file = ModelFile(folder / "m.tflite")
    metadata = json.loads(json.dumps(file.metadata()))
    if how == "gone":
        del metadata["choices"]
    else:
        metadata["choices"] = changed_choices(metadata["choices"], how)
    file.set_metadata(metadata)
    (tmp_path / "m.tflite").write_bytes(file.to_bytes())
    with pytest.raises(ValueError, match=r"m\.tflite.*(E|e)xport"):
        verify_file(model, tmp_path / "m.tflite", rows[:2])
