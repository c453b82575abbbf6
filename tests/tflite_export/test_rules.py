"""Rules reach the file: each layer as its rule says."""

import keras
import numpy as np
import pytest
from keras import layers

import qsparse
from qsparse import Rule
from qsparse.callbacks import PruneThenQuantize
from qsparse.tflite_export.files.model_file import ModelFile
from qsparse.tflite_export.inspect import inspect_file
from tests.conftest import compiled

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
        assert zeros[name] >= least
        assert zeros[name] < least + 0.1


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
    in_int8 = {name for name, row in found.items() if row.int8}
    assert in_int8 == {"blocks", "groups", "dense", "head"}
    assert found["groups"].pattern == "2:4"
