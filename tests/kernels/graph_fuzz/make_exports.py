"""Makes the exported files that are changed: small networks, trained for a few steps.

    python -m tests.kernels.graph_fuzz.make_exports

They are kept in the repository, so that a seed means the same file everywhere.
"""

import pathlib

import keras
import numpy as np

import qsparse
from qsparse import NM, Block
from qsparse.callbacks import PruneThenQuantize

EXPORTS = pathlib.Path(__file__).parent / "exports"
_SHAPE = (12, 12, 3)


def residual():
    """Convolutions, a sum, pooling, a classifier."""
    inputs = keras.Input(_SHAPE)
    x = keras.layers.Conv2D(16, 3, padding="same", activation="relu")(inputs)
    y = keras.layers.Conv2D(16, 3, padding="same", activation="relu")(x)
    y = keras.layers.Conv2D(16, 1)(y)
    x = keras.layers.ReLU()(keras.layers.Add()([x, y]))
    x = keras.layers.MaxPooling2D()(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(10)(x))


def perceptron():
    """Dense layers over flattened images, two heads."""
    inputs = keras.Input(_SHAPE)
    x = keras.layers.Flatten()(inputs)
    x = keras.layers.Dense(64, activation="relu")(x)
    x = keras.layers.Dense(32, activation="relu")(x)
    heads = [keras.layers.Dense(10)(x), keras.layers.Dense(4)(x)]
    return keras.Model(inputs, keras.layers.Concatenate()(heads))


def attention():
    """Patches, one attention layer, one feed-forward layer."""
    inputs = keras.Input(_SHAPE)
    x = keras.layers.Conv2D(32, 4, strides=4)(inputs)
    x = keras.layers.Reshape((9, 32))(x)
    x = x + keras.layers.MultiHeadAttention(2, 16)(x, x)
    y = keras.layers.Dense(64, activation="relu")(x)
    x = x + keras.layers.Dense(32)(y)
    return keras.Model(inputs, keras.layers.Dense(10)(x[:, 0]))


NETWORKS = {
    residual: Block((4, 4)),
    perceptron: NM(1, 4),
    attention: Block((4, 4)),
}


def main():
    EXPORTS.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    images = rng.random((256, *_SHAPE)).astype(np.float32)
    for make, pattern in NETWORKS.items():
        keras.utils.set_random_seed(0)
        model = make()
        width = model.output_shape[-1]
        labels = rng.integers(0, width, 256)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile("adam", loss)
        callback = PruneThenQuantize(pattern=pattern)
        model.fit(images, labels, epochs=2, callbacks=[callback], verbose=0)
        path = EXPORTS / f"{make.__name__}.tflite"
        qsparse.export(model, path, representative_data=images[:64])
        print(path.name, path.stat().st_size)


if __name__ == "__main__":
    main()
