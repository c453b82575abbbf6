"""The five kinds of model that one callback has to work on."""

import keras
import numpy as np
from keras import layers

from tests.conftest import compiled, small_cnn


def sequential():
    return compiled(
        keras.Sequential(
            [
                keras.Input((28, 28, 1)),
                layers.Conv2D(16, 3, strides=2, activation="relu"),
                layers.MaxPooling2D(),
                layers.Conv2D(16, 3, activation="relu"),
                layers.Flatten(),
                layers.Dense(12),
            ]
        )
    )


def functional():
    return small_cnn()


def nested():
    inner = keras.Sequential(
        [
            keras.Input((14, 14, 16)),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.DepthwiseConv2D(3, activation="relu"),
        ],
        name="inner",
    )
    inputs = keras.Input((28, 28, 1))
    x = layers.Conv2D(16, 3, strides=2, padding="same", activation="relu")(inputs)
    x = layers.GlobalAveragePooling2D()(inner(x))
    return compiled(keras.Model(inputs, layers.Dense(12)(x)))


@keras.saving.register_keras_serializable("qsparse_tests")
class Subclassed(keras.Model):
    """A model that is not built before its first batch, with a bare `+`."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.stem = layers.Conv2D(16, 3, strides=2, activation="relu")
        self.conv = layers.Conv2D(16, 3, padding="same")
        self.norm = layers.BatchNormalization(momentum=0.9)
        self.relu = layers.ReLU()
        self.pool = layers.GlobalAveragePooling2D()
        self.head = layers.Dense(12)

    def call(self, inputs, training=False):
        x = self.stem(inputs)
        x = self.relu(x + self.norm(self.conv(x), training=training))
        return self.head(self.pool(x))


def subclassed():
    return compiled(Subclassed())


def bert():
    import keras_hub

    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=256,
        num_layers=2,
        num_heads=4,
        hidden_dim=64,
        intermediate_dim=128,
        max_sequence_length=28,
    )
    x = backbone.output["pooled_output"]
    return compiled(keras.Model(backbone.input, layers.Dense(12)(x)))


def rows_as_tokens(images):
    """Turn an image into 28 tokens, one for the ink in each of its rows."""
    tokens = np.clip(images.sum(axis=(2, 3)) * 9, 0, 255).astype("int32")
    return {
        "token_ids": tokens,
        "padding_mask": np.ones_like(tokens),
        "segment_ids": np.zeros_like(tokens),
    }


IMAGE_MODELS = {
    "sequential": sequential,
    "functional": functional,
    "nested": nested,
    "subclassed": subclassed,
}
