"""Late in a quantized training, statistics stay what they are."""

from itertools import pairwise

import keras
import numpy as np
import pytest

import qsparse
from qsparse.callbacks import Prune, PruneThenQuantize, Quantize
from qsparse.keras_compat import walk_layers
from tests.conftest import small_cnn


class Watch(keras.callbacks.Callback):
    """Notes the statistics after every step."""

    def __init__(self):
        super().__init__()
        self.means = []

    def on_train_batch_end(self, batch, logs=None):
        norms = [
            layer
            for _, layer in walk_layers(self.model)
            if isinstance(layer, keras.layers.BatchNormalization)
        ]
        self.means.append(np.concatenate([n.moving_mean.numpy() for n in norms]))


def fit(callback, images, epochs=2, model=None):
    keras.utils.set_random_seed(7)
    model = model or small_cnn()
    watch = Watch()
    x, y = images[0][:320], images[1][:320]
    model.fit(
        x, y, batch_size=32, epochs=epochs, verbose=0, callbacks=[callback, watch]
    )
    moved = [bool((a != b).any()) for a, b in pairwise(watch.means)]
    return model, moved  # one entry per step but the first


def test_they_stop_when_asked_to(images):
    _, moved = fit(PruneThenQuantize(freeze_statistics_from=0.9), images)
    assert moved == [True] * 17 + [False] * 2


@pytest.mark.parametrize("moment, moving", [(5, 4), (0.5, 9), (None, 19)])
def test_the_moment_can_be_chosen(moment, moving, images):
    _, moved = fit(Quantize(freeze_statistics_from=moment), images)
    assert moved == [True] * moving + [False] * (19 - moving)


def test_only_while_quantizing(images):
    _, moved = fit(Prune(freeze_statistics_from=0.1), images)
    assert all(moved)
    late = PruneThenQuantize(freeze_statistics_from=0.1, quantize_from=0.75)
    _, moved = fit(late, images)
    assert moved == [True] * 14 + [False] * 5


def test_frozen_training_computes_what_prediction_does(images):
    x, y = images[0][:320], images[1][:320]
    callback = Quantize(freeze_statistics_from=0, observer=qsparse.MovingAverage(0.0))
    model, _ = fit(callback, images, epochs=1)
    # Another fit goes on as the recipe ended: frozen.
    model.optimizer.learning_rate = 0.0
    frozen_at = [w.numpy() for w in model.trainable_weights]
    again = Quantize(freeze_statistics_from=0, observer=qsparse.MovingAverage(0.0))
    with pytest.warns(UserWarning, match="changed no compressed weight"):
        history = model.fit(x[:32], y[:32], batch_size=32, verbose=0, callbacks=[again])
    for before, after in zip(frozen_at, model.trainable_weights, strict=True):
        np.testing.assert_array_equal(before, after.numpy())
    predicted = model.evaluate(x[:32], y[:32], verbose=0)
    assert history.history["loss"][0] == pytest.approx(predicted[0], rel=1e-5)


def test_gamma_and_beta_go_on_training(images):
    model, _ = fit(Quantize(freeze_statistics_from=0), images)
    gammas = [w for w in model.trainable_weights if w.path.endswith("gamma")]
    assert gammas
    assert all((w.numpy() != 1).any() for w in gammas)


def test_stripping_gives_the_plain_layer_back(images):
    model, _ = fit(Quantize(freeze_statistics_from=0), images)
    qsparse.strip(model)
    types = {type(layer) for _, layer in walk_layers(model)}
    assert keras.layers.BatchNormalization in types
    norm = next(
        layer
        for _, layer in walk_layers(model)
        if isinstance(layer, keras.layers.BatchNormalization)
    )
    before = norm.moving_mean.numpy()
    model.fit(images[0][:32], images[1][:32], verbose=0)
    assert (norm.moving_mean.numpy() != before).any()


def test_a_bad_moment_is_refused():
    with pytest.raises(ValueError, match="freeze_statistics_from=1.5"):
        qsparse.Recipe(freeze_statistics_from=1.5)
