"""Late in a quantized training, activation ranges stay what they are."""

import json
import warnings
from itertools import pairwise

import keras
import numpy as np
import pytest
import tensorflow as tf

import qsparse
from qsparse import Recipe
from qsparse.callbacks import Compress, Prune, PruneThenQuantize, Quantize
from qsparse.engine.compressor import compressed_layers, state_of
from qsparse.engine.phases import Phases
from tests import perceptron
from tests.apart import run_python
from tests.perceptron import mlp

pytestmark = pytest.mark.filterwarnings("ignore:Training makes .* steps from where")


def ranges_of(model):
    """Return every range, of inputs and of what leaves the model."""
    layers = compressed_layers(model)
    found = [c.input_quantizer for c in layers] + [layers[-1].output_quantizer]
    return np.concatenate([quantizer.ranges.numpy() for quantizer in found])


class Watch(keras.callbacks.Callback):
    """Notes ranges and weights after every step."""

    def __init__(self):
        super().__init__()
        self.ranges, self.weights = [], []

    def on_train_batch_end(self, batch, logs=None):
        self.ranges.append(ranges_of(self.model))
        self.weights.append(compressed_layers(self.model)[0].values())

    def moved(self):
        """Return, per step but the first, whether the ranges moved."""
        return [bool((a != b).any()) for a, b in pairwise(self.ranges)]


def fit(callback, pixels, model=None, **settings):
    model, watch = model or mlp(), Watch()
    perceptron.fit(model, pixels, [callback, watch], **settings)
    assert all((a != b).any() for a, b in pairwise(watch.weights))
    return model, watch


@pytest.mark.parametrize("moment, moving", [(5, 4), (0.5, 9), (1.0, 18), (None, 19)])
def test_they_stop_when_asked_to(moment, moving, pixels):
    _, watch = fit(Quantize(freeze_ranges_from=moment), pixels)
    assert watch.moved() == [True] * moving + [False] * (19 - moving)


def test_only_while_quantizing(pixels):
    callback = PruneThenQuantize(quantize_from=0.5, freeze_ranges_from=0.75)
    _, watch = fit(callback, pixels)
    assert watch.moved() == [False] * 9 + [True] * 5 + [False] * 5
    perceptron.fit(mlp(), pixels, [Prune(freeze_ranges_from=0.1)])


def test_a_range_that_is_unknown_then_is_still_found(pixels):
    """Its inputs are zeros until a step after that moment; then it stays as well."""
    x, y = pixels[0].copy(), pixels[1]
    x[:175] = 0.0
    watch = Watch()
    callbacks = [Quantize(freeze_ranges_from=3), watch]
    perceptron.fit(mlp(), (x, y), callbacks, epochs=1)
    inputs = [ranges[0].tolist() for ranges in watch.ranges]
    first, second = x[175:200], x[200:225]
    assert first.max() != second.max()
    assert inputs[:7] == [[0.0, 0.0]] * 7
    assert inputs[7:] == [[min(first.min(), 0), first.max()]] * 3


def test_a_loop_of_ones_own_is_told_when_to_trace_anew(pixels):
    model = mlp()
    optimizer = keras.optimizers.Adam(1e-2)
    qsparse.attach(model, Recipe(None, quantize_from=2, freeze_ranges_from=6))
    phases, seen, traced = Phases(model), [], []
    phases.start(0)

    def train(x, y):
        with tf.GradientTape() as tape:
            loss = model.loss(y, model(x, training=True)) + sum(model.losses)
        variables = model.trainable_variables
        optimizer.apply(tape.gradient(loss, variables), variables)

    compiled = tf.function(train)
    for step in range(10):
        rows = slice(25 * step, 25 * step + 25)
        if phases.step(step):
            traced.append(step)
            compiled = tf.function(train)
        compiled(pixels[0][rows], pixels[1][rows])
        seen.append(ranges_of(model))
    assert traced == [6]
    moved = [bool((a != b).any()) for a, b in pairwise(seen)]
    assert moved == [False] + [True] * 4 + [False] * 4


@pytest.mark.parametrize("epochs", [1, 3], ids=["before", "after"])
def test_a_training_that_was_saved_goes_on_bit_for_bit(epochs, pixels, tmp_path):
    def callback():
        return Quantize(freeze_ranges_from=0.5, total_epochs=4)

    straight, _ = fit(callback(), pixels, epochs=epochs)
    straight.save(tmp_path / "m.keras")
    resumed = qsparse.load_model(tmp_path / "m.keras")
    assert state_of(resumed).switches == state_of(straight).switches
    for model in (straight, resumed):
        fit(callback(), pixels, model, epochs=4 - epochs)
    for ours, theirs in zip(straight.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_loaded_model_has_frozen_ranges_without_a_callback(pixels, tmp_path):
    model, watch = fit(Quantize(freeze_ranges_from=0.5), pixels)
    model.save(tmp_path / "m.keras")
    loaded = qsparse.load_model(tmp_path / "m.keras")
    perceptron.fit(loaded, (pixels[0] * 3, pixels[1]), [])
    np.testing.assert_array_equal(ranges_of(loaded), watch.ranges[-1])


def test_weights_of_before_bring_moving_ranges_back(pixels):
    """As `EarlyStopping(restore_best_weights=True)` does."""

    class Back(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 0:
                self.kept = self.model.get_weights()
            if epoch == 2:
                self.frozen = state_of(self.model).switches.ranges_frozen
                self.model.set_weights(self.kept)

    back, model = Back(), mlp()
    callback = Quantize(freeze_ranges_from=0.5, total_epochs=4)
    perceptron.fit(model, pixels, [callback, back], epochs=3)
    assert back.frozen and not state_of(model).switches.ranges_frozen
    # Step 20 of 40 comes after ten more.
    again = Quantize(freeze_ranges_from=0.5, total_epochs=4)
    _, watch = fit(again, pixels, model, epochs=2)
    assert watch.moved() == [True] * 9 + [False] * 10


def test_a_model_that_was_compressed_without_training_has_ranges(pixels):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = mlp()
        recipe = Recipe("2:4", freeze_ranges_from=0.5)
        qsparse.one_shot(model, recipe, pixels[0])
    found = ranges_of(model)
    assert (found[:, 0] < found[:, 1]).all()
    assert found[0, 1] < pixels[0].max()  # of several batches, not of the first
    _, watch = fit(Compress(recipe), pixels, model)
    np.testing.assert_array_equal(watch.ranges[-1], found)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"freeze_ranges_from": 1.5}, "freeze_ranges_from=1.5"),
        ({"freeze_ranges_from": 0.4}, "freeze_ranges_from=0.4, quantize_from=0.5"),
        (
            {"freeze_ranges_from": 3, "quantize_from": 4},
            "must not come before `quantize_from`",
        ),
    ],
)
def test_a_bad_moment_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**settings)
    if settings["freeze_ranges_from"] != 1.5:
        assert not Recipe(quantize=False, **settings).quantizes


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"freeze_ranges_from": 4, "quantize_from": 0.5}, "is step 4, quantize_from"),
        ({"freeze_ranges_from": 20}, "`freeze_ranges_from` is step 20, but this train"),
    ],
)
def test_a_moment_that_does_not_fit_the_training_is_refused(settings, message, pixels):
    with pytest.raises(ValueError, match=message):
        perceptron.fit(mlp(), pixels, [Quantize(**settings)])


def test_a_share_asks_for_the_length_of_training(pixels):
    batches = ((pixels[0][:25], pixels[1][:25]) for _ in range(10))
    with pytest.raises(ValueError, match="freeze_ranges_from as steps"):
        perceptron.fit(
            mlp(), (batches,), [Quantize(freeze_ranges_from=0.5)], batch_size=None
        )


def test_recipes_of_before_load_and_never_freeze():
    recipe = Recipe(freeze_ranges_from=0.75)
    config = json.loads(json.dumps(recipe.to_dict()))
    assert Recipe.from_dict(config) == recipe
    del config["freeze_ranges_from"]
    assert Recipe.from_dict(config) == Recipe()


_ON_JAX = """
import keras, numpy as np, qsparse
from itertools import pairwise
from qsparse.callbacks import Quantize
from qsparse.engine.compressor import compressed_layers

layers = [keras.layers.Dense(8, "relu"), keras.layers.Dense(4)]
model = keras.Sequential([keras.Input((16,)), *layers])
model.compile("adam", "mse")
seen = []


class Watch(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        self.model.jax_state_sync()
        limits = [c.input_quantizer.ranges.numpy() for c in compressed_layers(model)]
        seen.append(np.concatenate(limits))


rng = np.random.default_rng(0)
x, y = rng.normal(size=(200, 16)), rng.normal(size=(200, 4))
settings = {"batch_size": 20, "shuffle": False, "verbose": 0}
model.fit(x, y, callbacks=[Quantize(freeze_ranges_from=4), Watch()], **settings)
moved = [bool((a != b).any()) for a, b in pairwise(seen)]
assert moved == [True] * 3 + [False] * 6, moved
model.fit(x * 2, y, **settings)
model.jax_state_sync()
now = [c.input_quantizer.ranges.numpy() for c in compressed_layers(model)]
assert (np.concatenate(now) == seen[-1]).all()
print(keras.backend.backend())
"""


def test_they_stop_on_jax_too():
    assert run_python("-c", _ON_JAX, backend="jax").strip() == "jax"
