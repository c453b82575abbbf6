"""A perceptron on a few pixels: small enough to train in every test."""

import keras
from keras import layers

from tests.conftest import compiled


def mlp(seed=3, optimizer=None):
    """Return a fresh, compiled classifier of 16 pixels, with `hidden` and `head`."""
    keras.utils.set_random_seed(seed)
    hidden = layers.Dense(32, activation="relu", name="hidden")
    head = layers.Dense(12, name="head")
    model = compiled(keras.Sequential([keras.Input((16,)), hidden, head]), 1e-2)
    if optimizer is not None:
        model.compile(optimizer, model.loss)
    return model


def fit(model, data, callbacks, epochs=2, **settings):
    """Train in batches of 25, ten steps an epoch of `pixels`; return the history."""
    settings = {"batch_size": 25, "verbose": 0, "shuffle": False, **settings}
    return model.fit(*data, epochs=epochs, callbacks=callbacks, **settings)
