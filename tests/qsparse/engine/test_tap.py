"""The tap: what the optimizer is given is added up, and nobody else notices."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import qsparse
from qsparse.callbacks import Prune, PruneThenQuantize
from qsparse.engine.compressor import compressed_layers
from tests import perceptron
from tests.conftest import compiled
from tests.perceptron import mlp

LATE = {"prune_from": 900, "prune_until": 999, "total_steps": 1000}


def fit(model, data, callbacks, epochs=1, **settings):
    return perceptron.fit(model, data, callbacks, epochs, **settings).history


def sums_of(model):
    return [c.gradient_sums.values()["gradients"] for c in compressed_layers(model)]


def gradients(model, pixels, term=lambda weights, gradient: gradient):
    """Return the sum of each kernel's gradients, batch by batch, at these weights.

    Or of what `term` makes of them.
    """
    x, y = pixels
    kernels = [layer.kernel for layer in model.layers]
    total = [0.0 for _ in kernels]
    for start in range(0, len(x), 25):
        with tf.GradientTape() as tape:
            loss = model.loss(y[start : start + 25], model(x[start : start + 25]))
        found = tape.gradient(loss, kernels)
        terms = [
            term(k.numpy(), g.numpy()) for k, g in zip(kernels, found, strict=True)
        ]
        total = [t + each for t, each in zip(total, terms, strict=True)]
    return total


OPTIMIZERS = {
    "plain": lambda: keras.optimizers.SGD(0.0),
    "adam": lambda: keras.optimizers.AdamW(0.0, clipnorm=1e-3),
    "loss scale": lambda: keras.optimizers.LossScaleOptimizer(
        keras.optimizers.SGD(0.0)
    ),
    "static scale": lambda: keras.optimizers.SGD(0.0, loss_scale_factor=64.0),
    "accumulation": lambda: keras.optimizers.SGD(0.0, gradient_accumulation_steps=2),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("built", [True, False])
def test_gradients_are_added_up(name, built, pixels):
    expected = gradients(mlp(), pixels)
    model = mlp(optimizer=OPTIMIZERS[name]())
    if built:
        model.optimizer.build(model.trainable_variables)
    with pytest.warns(UserWarning, match="changed no compressed weight"):
        fit(model, pixels, [Prune(criterion="saliency", estimator="ste", **LATE)])
    for ours, theirs in zip(sums_of(model), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


TERMS = {
    "squares": ("fisher", lambda weights, gradient: gradient**2),
    "movement": ("movement", lambda weights, gradient: -weights * gradient),
}


@pytest.mark.parametrize("statistic", TERMS)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_other_sums(statistic, name, pixels):
    """Of gradients unscaled and not clipped, however an optimizer gets them."""
    criterion, term = TERMS[statistic]
    expected = gradients(mlp(), pixels, term)
    model = mlp(optimizer=OPTIMIZERS[name]())
    with pytest.warns(UserWarning, match="changed no compressed weight"):
        fit(model, pixels, [Prune(criterion=criterion, estimator="ste", **LATE)])
    for layer, theirs in zip(compressed_layers(model), expected, strict=True):
        ours = layer.gradient_sums.values()
        assert set(ours) == {statistic}
        np.testing.assert_allclose(ours[statistic], theirs, rtol=1e-4, atol=1e-7)


def test_movement_goes_on_over_selections(pixels):
    """By the weights of each step, of a training that moves them, by hand."""
    x, y = pixels
    by_hand, model = mlp(), mlp(optimizer=keras.optimizers.SGD(0.1))
    kernels = [layer.kernel for layer in by_hand.layers]
    total = [0.0 for _ in kernels]
    for start in range(0, 250, 25):
        with tf.GradientTape() as tape:
            logits = by_hand(x[start : start + 25])
            loss = by_hand.loss(y[start : start + 25], logits)
        variables = by_hand.trainable_variables
        found = tape.gradient(loss, variables)
        named = {id(v): g.numpy() for v, g in zip(variables, found, strict=True)}
        total = [
            t - k.numpy() * named[id(k)] for t, k in zip(total, kernels, strict=True)
        ]
        for variable, gradient in zip(variables, found, strict=True):
            variable.assign_sub(0.1 * gradient)
    # Selections at a sparsity of zero change nothing: the training is a dense one.
    recipe = {"criterion": "movement", "estimator": "ste", "schedule": "one-shot"}
    callback = Prune("unstructured", 0.5, prune_from=10, prune_until=15, **recipe)
    fit(model, pixels, [callback], epochs=2)
    for layer, moved in zip(compressed_layers(model), total, strict=True):
        expected = qsparse.Unstructured().mask(moved[np.newaxis], 0.5)
        assert (layer.canonical_mask() == expected).mean() > 0.99
        # It was looked at, and goes on with what the second epoch brings.
        later = layer.gradient_sums.values()["movement"]
        assert np.corrcoef(later.ravel(), moved.ravel())[0, 1] > 0.3
        assert not np.allclose(later, moved, atol=1e-5)


@pytest.mark.filterwarnings("ignore:Training makes .* steps")
def test_what_data_brings_is_not_asked_of_the_optimizer(pixels):
    model = mlp()
    fit(model, pixels, [Prune(criterion="saliency", score_data=pixels)])
    assert type(model.optimizer) is keras.optimizers.Adam


def test_masks_are_selected_by_saliency(pixels):
    """One selection, after the first epoch, by what that epoch has seen."""
    model = mlp()
    recipe = {"criterion": "saliency", "schedule": "one-shot", "prune_from": 10}
    seen = {}

    class Watch(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            layer = compressed_layers(self.model)[0]
            total = layer.gradient_sums.values()["gradients"]
            seen[epoch] = (layer.master(), layer.layout.canonical(total))

    callback = Prune("unstructured", 0.5, prune_until=15, **recipe)
    fit(model, pixels, [callback, Watch()], epochs=2)
    weights, total = seen[0]
    scores = np.abs(weights * total)
    expected = qsparse.Unstructured().mask(scores, 0.5)
    layer = compressed_layers(model)[0]
    np.testing.assert_array_equal(layer.canonical_mask(), expected)
    # They were taken: what is there now comes from the second epoch.
    assert not np.allclose(seen[1][1], total)


class Interrupt(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.optimizer.iterations.numpy()) == 17:
            raise KeyboardInterrupt


def test_resume_is_bit_exact(pixels, tmp_path):
    """Interrupted in the second epoch, between two selections."""

    def train(folder, *more):
        model = mlp()
        backup = keras.callbacks.BackupAndRestore(folder, delete_checkpoint=False)
        ours = PruneThenQuantize(
            criterion="saliency", update_every=7, prune_from=0.1, prune_until=0.8
        )
        fit(model, pixels, [backup, ours, *more], epochs=4)
        return [*model.get_weights(), *sums_of(model)]

    straight = train(tmp_path / "a")
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "b", Interrupt())
    resumed = train(tmp_path / "b")
    for ours, theirs in zip(straight, resumed, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", ["adam", "loss scale"])
def test_files_and_classes_are_those_of_the_plain_optimizer(name, pixels, tmp_path):
    optimizer = OPTIMIZERS[name]()
    plain = type(optimizer)
    model = mlp(optimizer=optimizer)
    callback = Prune(criterion="saliency", **LATE)
    with pytest.warns(UserWarning, match="changed no compressed weight"):
        fit(model, pixels, [callback])
    before = sums_of(model)
    model.save(tmp_path / "m.keras")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        loaded = keras.models.load_model(tmp_path / "m.keras")
        assert type(loaded.optimizer) is plain
    with pytest.warns(UserWarning, match="was not carried out"):
        again = qsparse.load_model(tmp_path / "m.keras")
    qsparse.attach(again, callback.recipe)
    for ours, theirs in zip(before, sums_of(again), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    tapped, untapped = model.optimizer.variables, loaded.optimizer.variables
    assert len(tapped) == len(untapped) + 2
    for ours, theirs in zip(tapped, untapped, strict=False):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    qsparse.strip(model)
    assert type(model.optimizer) is plain
    assert len(model.optimizer.variables) == len(untapped)
    fit(model, pixels, [])


def test_an_optimizer_that_comes_later_is_tapped(pixels):
    model = mlp()
    callback = Prune(criterion="saliency", prune_from=0.25, total_epochs=2)
    fit(model, pixels, [callback])
    compiled(model)
    fit(model, pixels, [callback])
    assert sums_of(model)[0].any()
    assert callback.coverage.sparsity == pytest.approx(0.75)


def test_magnitude_taps_nothing(pixels):
    model = mlp()
    fit(model, pixels, [PruneThenQuantize()], epochs=2)
    assert type(model.optimizer) is keras.optimizers.Adam


def test_a_selection_without_gradients_is_told(pixels):
    with pytest.raises(ValueError, match="'hidden' had none.*prune_from"):
        fit(mlp(), pixels, [Prune(criterion="saliency", schedule="constant")])


@pytest.mark.parametrize("name", ["adam", "loss scale"])
@pytest.mark.parametrize("by_config", [True, False])
def test_an_optimizer_of_a_tapped_ones_class_trains(name, by_config, pixels):
    model = mlp(optimizer=OPTIMIZERS[name]())
    callback = Prune(criterion="saliency", prune_from=0.25, total_epochs=2)
    with pytest.warns(UserWarning, match="changed no compressed weight"):
        fit(model, pixels, [callback])
    tapped = model.optimizer
    if by_config:
        clone = type(tapped).from_config(tapped.get_config())
        assert type(clone) is type(OPTIMIZERS[name]())
    else:
        inner = [keras.optimizers.SGD(0.0)] if name == "loss scale" else [0.0]
        clone = type(tapped)(*inner)
    model.compile(clone, model.loss)
    fit(model, pixels, [])  # without a tap
    model.compile(type(tapped).from_config(tapped.get_config()), model.loss)
    with pytest.warns(UserWarning, match="changed no compressed weight"):
        fit(model, pixels, [callback])
    assert sums_of(model)[0].any()
    assert callback.coverage.sparsity == pytest.approx(0.75)
