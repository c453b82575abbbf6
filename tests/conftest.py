"""Real data and really trained weights, shared by all tests."""

import gc
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pytest
from keras import layers

from qsparse.recipes import fashion_mnist


def pytest_collection_modifyitems(items):
    """Begin with the files at the root, which take minutes each.

    Two workers share the files out as they go: of what comes last one of them does
    minutes alone.
    """
    root = Path(__file__).parent
    items.sort(key=lambda item: item.path.parent != root)


@pytest.fixture(scope="module", autouse=True)
def young_heap():
    """Keep what earlier modules left behind out of the garbage collector's way.

    TensorFlow holds on to the graphs of every model. To go through them again and
    again was a fifth of the time of all tests, and more the longer they ran.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def images():
    """Return 2,000 training images, float32 (N, 28, 28, 1), and their labels."""
    (x, y), _ = fashion_mnist.load_normalized()
    return x[::4], y[::4]


@pytest.fixture(scope="session")
def test_images():
    """Return the 2,000 test images and their labels."""
    return fashion_mnist.load_normalized()[1]


@pytest.fixture
def pixels(images):
    """Return the 16 central pixels of 250 images, and labels."""
    return images[0][:250, 12:16, 12:16].reshape(250, 16), images[1][:250]


def compiled(model, learning_rate=2e-3):
    """Compile a classifier of logits.

    On TensorFlow not by XLA, which takes longer than these trainings; what the
    documents show and some of `test_combinations` are compiled by it.
    """
    model.compile(
        keras.optimizers.Adam(learning_rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile="auto" if keras.backend.backend() == "jax" else False,
    )
    return model


def small_cnn(name="small_cnn"):
    """Return a residual CNN with every kind of layer that qsparse handles."""
    x = inputs = keras.Input((28, 28, 1))
    x = layers.Conv2D(16, 3, strides=2, padding="same", use_bias=False)(x)
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
    y = layers.Conv2D(16, 3, padding="same", use_bias=False)(x)
    y = layers.BatchNormalization(momentum=0.9)(y)
    x = layers.ReLU()(layers.Add()([x, y]))
    x = layers.DepthwiseConv2D(3, strides=2, padding="same", activation="relu")(x)
    x = layers.Conv2D(32, 1, activation="relu")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return compiled(keras.Model(inputs, layers.Dense(12)(x), name=name))


@pytest.fixture
def cnn():
    """Return a fresh, seeded `small_cnn`."""
    keras.utils.set_random_seed(7)
    return small_cnn()


@pytest.fixture(scope="session")
def trained_weights(images):
    """Return real trained kernels in canonical form, by name."""
    keras.utils.set_random_seed(7)
    model = small_cnn()
    model.fit(*images, epochs=1, batch_size=64, verbose=0)
    kernels = [w for w in model.get_weights() if w.ndim in (2, 4)]
    conv, dense = kernels[1], kernels[-1]
    return {
        "conv": np.ascontiguousarray(conv.reshape(9, 16, 16)),
        "dense": np.ascontiguousarray(dense.reshape(1, 32, 12)),
    }
