"""Files carry their recipe; broken files get one clear error."""

import keras
import numpy as np
import pytest

import qsparse
from qsparse.callbacks import PruneThenQuantize
from qsparse.engine.compressor import compressed_layers
from qsparse.saving import read_recipe
from tests.conftest import compiled, small_cnn

# Keras says so when only one of file and model has a built optimizer.
pytestmark = pytest.mark.filterwarnings("ignore:Skipping variable loading for opt")


@pytest.fixture
def trained(cnn, images):
    cnn.fit(
        images[0][:400],
        images[1][:400],
        epochs=2,
        batch_size=50,
        verbose=0,
        callbacks=[PruneThenQuantize()],
    )
    return cnn


def test_weights_file_brings_the_recipe(trained, tmp_path):
    trained.save_weights(tmp_path / "m.weights.h5")
    fresh = small_cnn()
    qsparse.load_weights(fresh, tmp_path / "m.weights.h5")
    for ours, theirs in zip(trained.get_weights(), fresh.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_training_goes_on_after_loading(trained, images, tmp_path):
    trained.save(tmp_path / "m.keras")
    again = qsparse.load_model(tmp_path / "m.keras")
    x, y = images[0][:400], images[1][:400]
    settings = {"batch_size": 50, "shuffle": False, "verbose": 0, "epochs": 1}
    trained.fit(x, y, callbacks=[PruneThenQuantize()], **settings)
    again.fit(x, y, callbacks=[PruneThenQuantize()], **settings)
    for ours, theirs in zip(trained.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_plain_files_load_plain(cnn, tmp_path):
    cnn.save(tmp_path / "m.keras")
    model = qsparse.load_model(tmp_path / "m.keras")
    assert type(model.layers[1]) is keras.layers.Conv2D
    with pytest.raises(ValueError, match="carries no recipe"):
        qsparse.coverage(model)


@pytest.mark.parametrize("name", ["m.keras", "m.weights.h5"])
def test_truncated_files(trained, tmp_path, name):
    path = tmp_path / name
    trained.save(path) if name == "m.keras" else trained.save_weights(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=f"Cannot read .*{name}"):
        read_recipe(path)


def test_missing_file(tmp_path):
    with pytest.raises(ValueError, match="Cannot read .*nowhere.keras"):
        qsparse.load_model(tmp_path / "nowhere.keras")


def _part_and_whole():
    """Return an encoder of two layers, and a classifier built on it."""
    inner = keras.Sequential(
        [
            keras.Input((16,)),
            keras.layers.Dense(32, activation="relu", name="a"),
            keras.layers.Dense(32, activation="relu", name="b"),
        ]
    )
    inputs = keras.Input((16,))
    outputs = keras.layers.Dense(12, name="head")(inner(inputs))
    return inner, compiled(keras.Model(inputs, outputs))


def test_only_a_part_was_compressed(tmp_path):
    """What the recipe did not cover may not come back compressed."""
    inner, outer = _part_and_whole()
    qsparse.attach(inner, qsparse.Recipe())
    outer.save(tmp_path / "m.keras")
    with pytest.warns(UserWarning, match="recipe has not begun"):
        loaded = qsparse.load_model(tmp_path / "m.keras")
    assert [c.path_in_model.split("/")[-1] for c in compressed_layers(loaded)] == [
        "a",
        "b",
    ]


def test_saving_a_part(tmp_path):
    inner, outer = _part_and_whole()
    qsparse.attach(outer, qsparse.Recipe(exclude="head"))
    inner.save(tmp_path / "inner.keras")
    with pytest.warns(UserWarning, match="recipe has not begun"):
        loaded = qsparse.load_model(tmp_path / "inner.keras")
    assert len(qsparse.coverage(loaded).layers) == 2
    rest = keras.Sequential([keras.Input((32,)), inner.layers[1]])
    rest.save(tmp_path / "rest.keras")
    with pytest.raises(ValueError, match="holds 1 compressed layers and 0 recipes"):
        qsparse.load_model(tmp_path / "rest.keras")


def test_weights_of_another_recipe(trained, tmp_path):
    trained.save_weights(tmp_path / "m.weights.h5")
    other = small_cnn()
    qsparse.attach(other, qsparse.Recipe(pattern=qsparse.NM(2, 4)))
    with pytest.raises(ValueError, match="another recipe.*pattern, sparsity differ"):
        other.load_weights(tmp_path / "m.weights.h5")
