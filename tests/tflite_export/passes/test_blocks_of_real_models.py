"""Blocks that real models are made of, trained, exported and verified."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import qsparse
from qsparse.callbacks import PruneThenQuantize
from qsparse.tflite_export import verify_file
from tests.tflite_export.against_keras import against_keras


@keras.saving.register_keras_serializable("blocks")
class Rotary(layers.Layer):
    """Turns halves of each row by angles that grow along the sequence."""

    def call(self, x):
        half = x.shape[-1] // 2
        angles = np.arange(x.shape[1])[:, None] / 100.0 ** (np.arange(half) / half)
        angles = np.concatenate([angles, angles], -1)
        cos, sin = np.cos(angles).astype("float32"), np.sin(angles).astype("float32")
        turned = ops.concatenate([-x[..., half:], x[..., :half]], -1)
        return x * cos + turned * sin


@keras.saving.register_keras_serializable("blocks")
class LayerScale(layers.Layer):
    def build(self, shape):
        self.gamma = self.add_weight(
            shape=(shape[-1],), initializer=keras.initializers.Constant(1e-6)
        )

    def call(self, x):
        return x * self.gamma


def rotary_attention(x):
    x = layers.Dense(32)(layers.Reshape((28, 28))(x))
    rows = layers.LayerNormalization()(x)
    query, key = Rotary()(layers.Dense(32)(rows)), Rotary()(layers.Dense(32)(rows))
    scores = layers.Dot((2, 2))([query, key]) / 32**0.5
    mixed = layers.Dot((2, 1))([layers.Softmax()(scores), layers.Dense(32)(rows)])
    x = x + layers.Dense(32)(mixed)
    return layers.GlobalAveragePooling1D()(layers.LayerNormalization()(x))


def scaled_residuals(x):
    x = layers.LayerNormalization()(layers.Conv2D(16, 4, strides=4)(x))
    for _ in range(2):
        y = layers.DepthwiseConv2D(3, padding="same")(x)
        y = layers.Dense(64, activation="gelu")(layers.LayerNormalization()(y))
        x = x + LayerScale()(layers.Dense(16)(y))
    return layers.LayerNormalization()(layers.GlobalAveragePooling2D()(x))


def recurrent_convolution(x):
    x = layers.Conv2D(8, 3, strides=3, activation="relu")(x)
    x = layers.ConvLSTM2D(8, 3)(layers.Reshape((1, 9, 9, 8))(x))
    return layers.GlobalAveragePooling2D()(x)


def stacked_cells(x):
    cells = [layers.LSTMCell(8), layers.GRUCell(8)]
    x = layers.RNN(cells)(layers.Reshape((28, 28))(x))
    return layers.Dense(16, activation="relu")(x)


@pytest.mark.parametrize(
    "block",
    [rotary_attention, scaled_residuals, recurrent_convolution, stacked_cells],
    ids=lambda block: block.__name__,
)
def test_a_block_is_trained_exported_and_verified(block, images, tmp_path):
    x, y = images[0][:256], images[1][:256]
    keras.utils.set_random_seed(3)
    inputs = keras.Input((28, 28, 1))
    outputs = layers.Dense(12)(block(inputs))
    model, path = keras.Model(inputs, outputs), tmp_path / "m.tflite"
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss)
    model.fit(x, y, verbose=0, callbacks=[PruneThenQuantize()])
    qsparse.export(model, path, x[:48])
    (far,) = against_keras(model, path, x[:48])
    noise = np.square(far.wanted - far.got).mean()
    assert 10 * np.log10(np.square(far.wanted).mean() / noise) > 25
    assert not verify_file(model, path, x[:8]).failures
