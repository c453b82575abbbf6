"""Sites: small nets with a place for one layer, by the kind of tensor it takes.

Every net holds a Dense or Conv2D that can be pruned beside the layer under trial.
"""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers

from benchmarks.material import CLASSES, images, pictures, tokens, words
from benchmarks.trial import Case

Call = Callable[[layers.Layer, Any], Any]
Place = Callable[[layers.Layer, Call], Case]


def compiled(model: keras.Model) -> keras.Model:
    """Compiles a classifier of logits; a few steps are not worth a trace."""
    model.compile(
        keras.optimizers.Adam(1e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        run_eagerly=True,
    )
    return model


def _case(
    layer: layers.Layer, data: np.ndarray, x: Any, y: Any, labels: np.ndarray
) -> Case:
    if len(y.shape) > 2:
        y = layers.Flatten()(y)
    if len(y.shape) == 1:
        y = layers.Reshape((1,))(y)
    y = layers.Dense(CLASSES, name="logits")(layers.Dense(16, name="after")(y))
    model = compiled(keras.Model(x, y))
    return Case(model, {x.name: data}, labels, layer.name)


def vector(layer: layers.Layer, call: Call) -> Case:
    """Puts a layer on (batch, 16)."""
    data, labels = images()
    x = keras.Input((28, 28, 1), name="image")
    y = layers.Dense(16, activation="relu", name="before")(layers.Flatten()(x))
    return _case(layer, data, x, call(layer, y), labels)


def steps(layer: layers.Layer, call: Call) -> Case:
    """Puts a layer on (batch, 28, 8): 28 steps of 8 features."""
    data, labels = images()
    x = keras.Input((28, 28), name="rows")
    y = layers.Dense(8, name="before")(x)
    return _case(layer, data[..., 0], x, call(layer, y), labels)


def planes(layer: layers.Layer, call: Call) -> Case:
    """Puts a layer on (batch, 8, 8, 8): feature maps of 8 channels."""
    data, labels = pictures((32, 32, 1), highest=1.0), images()[1]
    x = keras.Input((32, 32, 1), name="image")
    y = layers.Conv2D(8, 4, strides=4, activation="relu", name="before")(x)
    return _case(layer, data, x, call(layer, y), labels)


def volume(layer: layers.Layer, call: Call) -> Case:
    """Puts a layer on (batch, 4, 8, 4, 4): three axes of space or time, 4 channels."""
    data, labels = pictures((32, 32, 1), highest=1.0), images()[1]
    x = keras.Input((32, 32, 1), name="image")
    y = layers.Conv2D(8, 4, strides=4, activation="relu", name="before")(x)
    y = layers.Reshape((4, 8, 4, 4))(y)
    return _case(layer, data, x, call(layer, y), labels)


def film(layer: layers.Layer, call: Call) -> Case:
    """Puts a layer on (batch, 4, 4, 4, 2, 4): four volumes of 4 channels."""
    data, labels = pictures((32, 32, 1), highest=1.0), images()[1]
    x = keras.Input((32, 32, 1), name="image")
    y = layers.Conv2D(8, 4, strides=4, activation="relu", name="before")(x)
    y = layers.Reshape((4, 4, 4, 2, 4))(y)
    return _case(layer, data, x, call(layer, y), labels)


def photo(layer: layers.Layer, call: Call) -> Case:
    """Puts a layer on the input, (batch, 32, 32, 3) in [0, 255], as Keras does."""
    data, labels = pictures((32, 32, 3)), images()[1]
    x = keras.Input((32, 32, 3), name="image")
    y = layers.Rescaling(1 / 255)(call(layer, x))
    y = layers.Conv2D(8, 4, strides=4, activation="relu", name="conv")(y)
    return _case(layer, data, x, y, labels)


def sound(layer: layers.Layer, call: Call) -> Case:
    """Puts a layer on the input, (batch, 784): the pixels of an image, as a wave."""
    data, labels = images()
    x = keras.Input((784,), name="wave")
    return _case(layer, data.reshape(len(data), -1), x, call(layer, x), labels)


def ids(layer: layers.Layer, call: Call) -> Case:
    """Puts a layer on the input, (batch, 16) bytes of text as int32."""
    data, labels = tokens(16)
    x = keras.Input((16,), dtype="int32", name="ids")
    return _case(layer, data, x, call(layer, x), labels)


def strings(layer: layers.Layer, call: Call) -> Case:
    """Puts a layer on the input, (batch, 1) words."""
    data, labels = words()
    x = keras.Input((1,), dtype="string", name="words")
    return _case(layer, data, x, call(layer, x), labels)


def given(layer: layers.Layer, call: Call) -> Case:
    """Puts an InputLayer at the front of a Sequential model."""
    data, labels = images()
    model = compiled(
        keras.Sequential(
            [layer, layers.Flatten(), layers.Dense(16), layers.Dense(CLASSES)]
        )
    )
    return Case(model, {model.inputs[0].name: data}, labels, layer.name)


def alone(layer: layers.Layer, x: Any) -> Any:
    """Calls a layer on the one tensor there is."""
    return layer(x)


def on_two(layer: layers.Layer, x: Any) -> Any:
    """Calls a layer on two tensors of the same shape, in a list."""
    return layer([x, layers.Dense(x.shape[-1], activation="tanh", name="other")(x)])


def on_itself(layer: layers.Layer, x: Any) -> Any:
    """Calls an attention on queries and values that are the same."""
    return layer(x, x)


def as_sequence(layer: layers.Layer, x: Any) -> Any:
    """Calls an attention that takes a list of queries and values."""
    return layer([x, x])


def embedded(layer: layers.Layer, x: Any) -> Any:
    """Looks the ids up that a layer returns."""
    return layers.Embedding(300, 8, name="table")(layer(x))


def crossed(layer: layers.Layer, x: Any) -> Any:
    """Crosses the first two columns."""
    return layer([x[:, :1], x[:, 1:2]])
