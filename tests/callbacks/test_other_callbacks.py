"""Callbacks of Keras that keep the best epoch, which may be one of before."""

import warnings

import keras
import numpy as np
import pytest

import qsparse
from qsparse.callbacks import PruneThenQuantize
from qsparse.engine.compressor import compressed_layers
from tests import perceptron
from tests.perceptron import mlp

pytestmark = pytest.mark.filterwarnings("ignore:Skipping variable loading for opt")


class Script(keras.callbacks.Callback):
    """Lets epochs have these losses."""

    def __init__(self, values):
        super().__init__()
        self.values = list(values)

    def on_epoch_end(self, epoch, logs=None):
        logs["loss"] = self.values[epoch]


def best_file(path, **settings):
    return keras.callbacks.ModelCheckpoint(
        path, "loss", save_best_only=True, mode="min", **settings
    )


def messages_of(model, pixels, losses, callbacks):
    script = Script(losses)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        perceptron.fit(model, pixels, [script, *callbacks], len(losses))
    return [str(w.message) for w in told if "carried out" in str(w.message)]


@pytest.mark.parametrize(
    "name", ["m.keras", "m.weights.h5", "{epoch}-{loss:.1f}.keras"]
)
@pytest.mark.parametrize("first", [True, False], ids=["before", "after"])
def test_a_best_file_of_before_is_told(pixels, tmp_path, name, first):
    """The best epoch is the second, still float; the model itself is finished."""
    path = str(tmp_path / name)
    weights = name.endswith(".h5")
    writer = best_file(path, save_weights_only=weights)
    ours = PruneThenQuantize()
    model = mlp()
    callbacks = [writer, ours] if first else [ours, writer]
    (told,) = messages_of(model, pixels, [0.5, 0.3, 0.4, 0.4], callbacks)
    assert path in told and "and quantize_from" in told and "float" in told
    assert qsparse.unfinished(model) is None
    written = path.format(epoch=2, loss=0.3)
    with pytest.warns(UserWarning, match="not carried out: the model is float"):
        if weights:
            qsparse.load_weights(mlp(), written)
        else:
            qsparse.load_model(written)


def test_a_best_file_of_after_is_not(pixels, tmp_path):
    """Nor is a file that the best epoch of before wrote first, if a later one is best.

    Plain Keras loads the zeros of it.
    """
    path = tmp_path / "m.keras"
    model = mlp()
    callbacks = [best_file(path), PruneThenQuantize()]
    assert messages_of(model, pixels, [0.5, 0.3, 0.4, 0.2], callbacks) == []
    plain = keras.models.load_model(path)
    zeros = [(layer.get_weights()[0] == 0).mean() for layer in plain.layers]
    assert zeros == pytest.approx([0.75, 0.75], abs=0.02)  # int8 rounds some more
    again = qsparse.load_model(path)
    assert qsparse.unfinished(again) is None
    for ours, theirs in zip(
        compressed_layers(again), compressed_layers(model), strict=True
    ):
        np.testing.assert_array_equal(ours.canonical_mask(), theirs.canonical_mask())


def test_strict_raises(pixels, tmp_path):
    strict = PruneThenQuantize(strict=True)
    callbacks = [best_file(tmp_path / "m.keras"), strict]
    with pytest.raises(ValueError, match="before the recipe was carried out"):
        messages_of(mlp(), pixels, [0.1, 0.4, 0.4, 0.4], callbacks)


@pytest.mark.parametrize("first", [True, False], ids=["before", "after"])
@pytest.mark.parametrize(
    ("losses", "says"),
    [([0.1, 0.4, 0.4, 0.4], "not carried out"), ([0.5, 0.4, 0.4, 0.1], None)],
    ids=["dense", "last"],
)
def test_early_stopping_goes_back(pixels, first, losses, says):
    stopping = keras.callbacks.EarlyStopping(
        "loss", mode="min", patience=9, restore_best_weights=True
    )
    ours = PruneThenQuantize()
    model = mlp()
    callbacks = [stopping, ours] if first else [ours, stopping]
    told = messages_of(model, pixels, losses, callbacks)
    assert (qsparse.unfinished(model) is None) == (says is None)
    assert len(told) == (says is not None)
    assert says is None or says in told[0]


def test_a_best_file_of_a_student(pixels, tmp_path):
    student, path = mlp(2), tmp_path / "m.keras"
    distiller = qsparse.distill(student, mlp(1))
    callbacks = [best_file(path), PruneThenQuantize()]
    (told,) = messages_of(distiller, pixels, [0.5, 0.3, 0.4, 0.4], callbacks)
    assert str(path) in told
    with pytest.warns(UserWarning, match="not carried out"):
        assert qsparse.load_model(path).name == student.name
