"""What estimators make of weights after a step, against a training in numpy."""

import keras
import numpy as np
import pytest

import qsparse
from qsparse import CAST, DecoupledSRSTE, SoftShrinkage
from qsparse.callbacks import Prune
from qsparse.engine.compressor import compressed_layers
from tests import perceptron
from tests.perceptron import mlp

BATCH, INPUTS, OUTPUTS, STEPS = 8, 12, 6, 10
RATE, EPSILON = 0.05, 1e-7


def linear(optimizer):
    keras.utils.set_random_seed(2)
    dense = keras.layers.Dense(OUTPUTS, use_bias=False, name="dense")
    model = keras.Sequential([keras.Input((INPUTS,)), dense])
    model.compile(optimizer, "mse")
    return model


@pytest.fixture
def data():
    rng = np.random.default_rng(5)
    x = rng.normal(size=(BATCH * STEPS, INPUTS)).astype(np.float32)
    return x, (x @ rng.normal(size=(INPUTS, OUTPUTS))).astype(np.float32)


def trained_in_numpy(weights, data, estimator, adam):
    """Return the weights after the steps; 40% of the first ones are pruned."""
    weights = weights.astype(float)
    order = np.argsort(-np.abs(weights), axis=None)
    mask = np.zeros(weights.size)
    mask[order[: weights.size - round(0.4 * weights.size)]] = 1
    mask = mask.reshape(weights.shape)
    first, second = np.zeros_like(weights), np.zeros_like(weights)
    hard = isinstance(estimator, DecoupledSRSTE)
    for step in range(STEPS):
        x, y = (part[BATCH * step :][:BATCH].astype(float) for part in data)
        used = weights * mask if hard else weights
        gradient = 2 * x.T @ (x @ used - y) / y.size
        if adam:
            first = 0.9 * first + 0.1 * gradient
            second = 0.999 * second + 0.001 * gradient**2
            root = np.sqrt(second / (1 - 0.999 ** (step + 1)))
            weights = weights - RATE * first / (1 - 0.9 ** (step + 1)) / (
                root + EPSILON
            )
        else:
            root = np.ones_like(weights)
            weights = weights - RATE * gradient
        pruned = mask == 0
        if isinstance(estimator, SoftShrinkage):
            weights[pruned] *= estimator.factor
            continue
        ramp = min((step + 1) / estimator.steps, 1) if estimator.steps else 1
        length = RATE * estimator.decay * ramp / root
        if hard:
            weights[pruned] -= (np.minimum(length, 1) * weights)[pruned]
        else:
            size = np.maximum(np.abs(weights) - length, 0)
            weights[pruned] = (np.sign(weights) * size)[pruned]
    return weights, mask.astype(bool)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "scaled"])
@pytest.mark.parametrize(
    "estimator",
    [
        DecoupledSRSTE(0.3),
        DecoupledSRSTE(2.0, steps=4),
        DecoupledSRSTE(1e4),
        SoftShrinkage(0.8),
        CAST(0.2),
        CAST(5.0, steps=20),
    ],
    ids=str,
)
def test_weights_are_those_of_a_training_in_numpy(estimator, optimizer, data):
    make = {
        "sgd": lambda: keras.optimizers.SGD(RATE),
        "adam": lambda: keras.optimizers.Adam(RATE, epsilon=EPSILON),
        "scaled": lambda: keras.optimizers.LossScaleOptimizer(
            keras.optimizers.Adam(RATE, epsilon=EPSILON)
        ),
    }[optimizer]
    model = linear(make())
    start = model.layers[0].kernel.numpy()
    settings = {"schedule": "one-shot", "estimator": estimator, "total_steps": 100}
    callback = Prune("unstructured", 0.4, **settings)
    model.fit(*data, BATCH, verbose=0, shuffle=False, callbacks=[callback])
    expected, mask = trained_in_numpy(start, data, estimator, optimizer != "sgd")
    (layer,) = compressed_layers(model)
    np.testing.assert_array_equal(layer.canonical_mask()[0], mask)
    np.testing.assert_allclose(layer.values(), expected, rtol=2e-3, atol=2e-5)


@pytest.mark.parametrize("estimator", ["sr-ste-decoupled", "soft-shrinkage", "cast"])
def test_a_training_ends_sparse_and_goes_on_from_a_file(estimator, pixels, tmp_path):
    def callback():
        return Prune("4x4", 0.5, estimator=estimator, total_epochs=4)

    whole = mlp()
    perceptron.fit(whole, pixels, [callback()], epochs=4)
    first = mlp()
    perceptron.fit(first, pixels, [callback()], epochs=3)
    first.save(tmp_path / "m.keras")
    second = qsparse.load_model(tmp_path / "m.keras")
    perceptron.fit(second, pixels, [callback()], epochs=4, initial_epoch=3)
    for a, b in zip(compressed_layers(whole), compressed_layers(second), strict=True):
        np.testing.assert_array_equal(a.canonical_mask(), b.canonical_mask())
        np.testing.assert_array_equal(a.values(), b.values())
        assert (a.effective_kernel().numpy() == 0).mean() == 0.5
    assert qsparse.unfinished(second) is None
    # The optimizer saves nothing of ours, and is itself again.
    qsparse.strip(whole)
    assert type(whole.optimizer) is keras.optimizers.Adam
    assert len(whole.optimizer.variables) == 2 + 2 * 4


def test_weights_that_are_set_bring_their_mask(pixels):
    """As EarlyStopping does when it gives back the best weights."""
    model = mlp(optimizer=keras.optimizers.SGD(0.0))
    settings = {"schedule": "constant", "estimator": SoftShrinkage(0.5)}
    callback = Prune("unstructured", 0.5, **settings, total_epochs=10)
    perceptron.fit(model, pixels, [callback], epochs=1)
    layer = compressed_layers(model)[0]
    weights = model.get_weights()
    kept = layer.mask_variable.numpy()
    layer.mask_variable.assign(~kept)
    before = layer.values()
    perceptron.fit(model, pixels, [], epochs=1)
    # Ten steps halved what was kept and is not now.
    np.testing.assert_array_equal(layer.values()[~kept], before[~kept])
    np.testing.assert_allclose(layer.values()[kept], before[kept] / 2**10)
    model.set_weights(weights)
    before = layer.values()
    perceptron.fit(model, pixels, [], epochs=1)
    np.testing.assert_array_equal(layer.values()[kept], before[kept])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CAST(-1.0), "CAST needs decay >= 0 and steps >= 0"),
        (lambda: DecoupledSRSTE(0.1, -2), "DecoupledSRSTE needs decay >= 0 and steps"),
        (lambda: DecoupledSRSTE("a"), "`decay` must be a finite number"),
        (lambda: SoftShrinkage(1.0), "`factor` must be above 0 and below 1"),
    ],
)
def test_bad_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
