"""Files of commit 900d456 load: the same masks, ranges and predictions."""

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

import qsparse
from qsparse.callbacks import PruneThenQuantize
from qsparse.engine.compressor import compressed_layers, state_of
from qsparse.recipes import fashion_mnist
from qsparse.tflite_export.inspect import inspect_file
from tests.conftest import compiled

FOLDER = Path(__file__).parents[1] / "fixtures" / "before_the_house"
# What the estimator was where nobody named one.
RECIPE = PruneThenQuantize(
    pattern="4x4",
    sparsity=0.5,
    exclude=["logits"],
    update_every=3,
    estimator="sr-ste",
).recipe

pytestmark = pytest.mark.filterwarnings("ignore:Skipping variable loading for opt")


@pytest.fixture(scope="module")
def expected():
    return dict(np.load(FOLDER / "expected.npz"))


@pytest.fixture(scope="module")
def x():
    return fashion_mnist.load_normalized()[0][0][:16]


def untrained():
    """Return the model of the README there."""
    inputs = keras.Input((28, 28, 1))
    h = layers.Conv2D(8, 3, strides=2, use_bias=False, name="stem")(inputs)
    h = layers.ReLU()(layers.BatchNormalization(momentum=0.9, name="norm")(h))
    h = layers.DepthwiseConv2D(3, strides=2, activation="relu", name="depthwise")(h)
    h = layers.Conv2D(16, 1, activation="relu", name="pointwise")(h)
    h = layers.Flatten()(layers.MaxPooling2D()(h))
    h = layers.Dense(16, activation="relu", name="hidden")(h)
    return compiled(keras.Model(inputs, layers.Dense(12, name="logits")(h)))


def check(model, expected, x):
    found = {}
    for layer in compressed_layers(model):
        mask, name = layer.canonical_mask(), layer.path_in_model
        if mask is not None:
            found[f"mask {name}"] = mask
        found[f"range {name}"] = layer.input_quantizer.ranges.numpy()
    assert found.keys() == expected.keys() - {"predictions"}
    for name, value in found.items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)
    # Another processor may add up in another order.
    predictions = model.predict(x, verbose=0)
    np.testing.assert_allclose(predictions, expected["predictions"], atol=1e-5)
    assert qsparse.unfinished(model) is None


def test_a_model(expected, x):
    model = qsparse.load_model(FOLDER / "model.keras")
    check(model, expected, x)
    # The recipe of the file is the one that wrote it: attaching that changes nothing.
    rows = {row.path: row for row in qsparse.attach(model, RECIPE).layers}
    assert rows["hidden"].sparsity == 0.5
    assert rows["logits"].reason == "excluded by the recipe"
    assert rows["stem"].reason == "1 inputs are not divisible by 4"
    # So does the same without the estimator, which nobody had named then.
    qsparse.attach(model, replace(RECIPE, estimator=None))
    assert state_of(model).recipe.estimator == qsparse.SRSTE()


@pytest.mark.parametrize("attached", [False, True])
def test_weights(attached, expected, x):
    model = untrained()
    if attached:
        qsparse.attach(model, RECIPE)
        model.load_weights(FOLDER / "model.weights.h5")
    else:
        qsparse.load_weights(model, FOLDER / "model.weights.h5")
    check(model, expected, x)


def test_it_trains_on_with_its_masks(expected):
    model = qsparse.load_model(FOLDER / "model.keras")
    (x, y), _ = fashion_mnist.load_normalized()
    callback = qsparse.callbacks.Compress(RECIPE)
    history = model.fit(x[:64], y[:64], verbose=0, callbacks=[callback]).history
    assert history["phase"] == [3.0]
    hidden = next(c for c in compressed_layers(model) if c.path_in_model == "hidden")
    np.testing.assert_array_equal(hidden.canonical_mask(), expected["mask hidden"])


def test_an_exported_file():
    found = inspect_file(FOLDER / "model.tflite")
    assert found.problem is None
    assert found.metadata is not None
    assert len(found.layers) == 5


def test_inspecting_a_model():
    assert inspect_file(FOLDER / "model.keras").unfinished is None
