"""Rules reach the file: each layer as its rule says."""

import keras
import numpy as np
import pytest
from keras import layers

import qsparse
from qsparse import IntN, LearnedInt, Rule
from qsparse.callbacks import PruneThenQuantize
from qsparse.engine.compressor import compressed_layers
from qsparse.tflite_export.files.model_file import ModelFile
from qsparse.tflite_export.inspect import inspect_file
from tests.conftest import compiled, small_cnn

RULES = [
    Rule("first", leave_alone=True),
    Rule("blocks", sparsity=0.5),
    Rule("groups", pattern="2:4"),
    Rule("dense", pattern="dense"),
    Rule("float", quantize=False),
]


@pytest.fixture(scope="module")
def trained(images):
    keras.utils.set_random_seed(5)
    names = ("first", "blocks", "groups", "dense", "float")
    model = keras.Sequential([keras.Input((28, 28, 1))], name="ruled")
    for name in names:
        model.add(layers.Conv2D(16, 3, 2, "same", activation="relu", name=name))
    model.add(layers.Flatten())
    model.add(layers.Dense(12, name="head"))
    model = compiled(model)
    x, y = images[0][:400], images[1][:400]
    callback = PruneThenQuantize("4x4", sparsity=0.75, rules=RULES)
    model.fit(x, y, batch_size=20, epochs=6, verbose=0, callbacks=[callback])
    return model


def test_a_file_holds_what_the_rules_say(trained, images, tmp_path):
    report = qsparse.export(trained, tmp_path / "m.tflite", images[0][:64])
    assert report.parity.max_lsb <= 2
    zeros = {}
    file = ModelFile(tmp_path / "m.tflite")
    for op in file.ops:
        if op.weights is not None:
            values = op.weights.data
            name = next(n for n in [*dict.fromkeys(WANTED)] if n in op.weights.name)
            zeros[name] = np.count_nonzero(values == 0) / values.size
            assert values.dtype == np.int8
    assert zeros.keys() == WANTED.keys()
    for name, least in WANTED.items():
        assert least <= zeros[name] < least + 0.1, name


# Least share of zeros; a few more come from rounding.
WANTED = {
    "first": 0.0,
    "blocks": 0.5,
    "groups": 0.5,
    "dense": 0.0,
    "float": 0.75,
    "head": 0.75,
}


def test_inspect_says_what_is_in_int8(trained, tmp_path):
    trained.save(tmp_path / "m.keras")
    found = {row.layer: row for row in inspect_file(tmp_path / "m.keras").layers}
    in_int8 = {name for name, row in found.items() if row.format == "int8"}
    assert in_int8 == {"blocks", "groups", "dense", "head"}
    assert found["groups"].pattern == "2:4"


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("kind", [IntN, LearnedInt])
def test_weights_of_a_few_bits_are_those_of_the_file(kind, dynamic, images, tmp_path):
    model = small_cnn()
    last = kind(3, per_channel=False)
    rules = [Rule(role="last", format=last)]
    callback = PruneThenQuantize("4x4", 0.5, format=kind(4), rules=rules)
    x, y = images[0][:400], images[1][:400]
    model.fit(x, y, batch_size=20, epochs=6, verbose=0, callbacks=[callback])
    assert {row.format for row in callback.coverage.layers} == {
        str(kind(4)),
        str(last),
    }
    settings = {"dynamic_range": True, "weight_bits": 4} if dynamic else {}
    report = qsparse.export(model, tmp_path / "m.tflite", x[:64], **settings)
    assert report.parity.max_lsb <= 1.01
    # Scales take in what the export folds and evens out, and a channel may be negated.
    trained = {}
    for child in compressed_layers(model):
        codes, _ = child.integer_weights()
        trained[codes.shape] = codes.reshape(len(codes), -1)
    held = 0
    for op in ModelFile(tmp_path / "m.tflite").ops:
        weights = op.weights
        # What LiteRT leaves in float with dynamic ranges are small layers.
        if weights is None or weights.dtype == np.float32 or "DEPTH" in op.name:
            continue
        codes = weights.data.reshape(len(weights.data), -1)
        wanted = trained[tuple(weights.shape)]
        signs = np.sign((codes.astype(int) * wanted).sum(axis=1, keepdims=True))
        np.testing.assert_array_equal(codes, wanted * signs)
        held += 1
    assert held == (1 if dynamic else 4)
