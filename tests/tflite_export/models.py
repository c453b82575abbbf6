"""Models of every kind a user may bring, with weights that are not trivial."""

import keras
import numpy as np
from keras import layers


def randomized(model, seed=0):
    """Give BatchNormalization statistics and biases values as training would.

    Some gammas are negative: folded, they turn the sign of a channel.
    """
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        if variable.path.endswith("gamma"):
            value = rng.normal(size=variable.shape)
        elif variable.path.endswith("moving_variance"):
            value = rng.uniform(0.5, 2, size=variable.shape)
        elif variable.path.endswith(("bias", "beta", "moving_mean")):
            value = rng.normal(size=variable.shape) * 0.1
        else:
            continue
        variable.assign(value)
    return model


def sequential_cnn():
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(16, 3, strides=2, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.MaxPooling2D(),
            layers.DepthwiseConv2D(3, padding="same"),
            layers.BatchNormalization(),
            layers.ReLU(6.0),
            layers.Conv2D(32, 1, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(10),
        ]
    )


def sequential_mlp():
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Rescaling(2.0, offset=-1.0),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dropout(0.2),
            layers.Dense(64),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Dense(10, activation="softmax"),
        ]
    )


def functional_residual():
    inputs = keras.Input((28, 28, 1))
    x = layers.Conv2D(16, 3, strides=2, padding="same", activation="relu")(inputs)
    y = layers.Conv2D(16, 3, padding="same")(x)
    y = layers.BatchNormalization()(y)
    x = layers.ReLU()(layers.Add()([x, y]))
    y = layers.Conv2D(16, 3, padding="same", dilation_rate=2)(layers.ReLU()(x))
    x = x + y  # a bare sum, which no layer hooks
    y = layers.BatchNormalization()(x)  # pre-activation: no convolution before it
    y = layers.Conv2D(16, 3, groups=4)(layers.ReLU()(y))
    y = layers.AveragePooling2D(2)(layers.ZeroPadding2D(1)(y))
    return keras.Model(inputs, layers.Dense(10)(layers.Flatten()(y)))


def nested():
    inputs = keras.Input((28, 28, 1))
    features = sequential_cnn()(inputs)
    return keras.Model(inputs, layers.Dense(5)(layers.ReLU()(features)))


class Subclassed(keras.Model):
    """Two outputs, a nested model, a layer that is called twice."""

    def __init__(self):
        super().__init__()
        self.features = sequential_cnn()
        self.shared = layers.Dense(10, activation="relu")
        self.head = layers.Dense(4)

    def call(self, inputs):
        x = self.features(inputs)
        x = self.shared(self.shared(x))
        return {"classes": self.head(x), "features": x}


def gated_activations():
    inputs = keras.Input((28, 28, 1))
    x = layers.Reshape((28, 28))(inputs)
    for activation in ("gelu", "hard_silu", "leaky_relu", "silu"):
        x = layers.Dense(32, activation=activation)(x)
    x = layers.EinsumDense("abc,cde->abde", (28, 4, 8), bias_axes="de")(x)
    x = layers.Reshape((28, 32))(x)
    x = layers.Dense(32, activation=lambda t: keras.activations.gelu(t, True))(x)
    return keras.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling1D()(x)))


def transposed_and_conv1d():
    inputs = keras.Input((28, 28, 1))
    x = layers.Reshape((28, 28))(inputs)
    x = layers.Conv1D(16, 3, padding="same", activation="relu")(x)
    x = layers.Reshape((28, 16, 1))(x)
    x = layers.Conv2DTranspose(8, 2, strides=2)(x)
    x = layers.BatchNormalization()(x)
    x = layers.PReLU(shared_axes=[1, 2])(x)
    return keras.Model(inputs, layers.Dense(10)(layers.GlobalMaxPooling2D()(x)))


def transformer():
    inputs = keras.Input((28, 28, 1))
    x = layers.Dense(32)(layers.Reshape((28, 28))(inputs))
    y = layers.LayerNormalization()(x)
    x = layers.Add()([x, layers.MultiHeadAttention(4, 8)(y, y)])
    y = layers.LayerNormalization()(x)
    x = layers.Add()([x, layers.Dense(32)(layers.Dense(64, activation="gelu")(y))])
    return keras.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling1D()(x)))


CONVOLUTIONAL = [
    sequential_cnn,
    sequential_mlp,
    functional_residual,
    nested,
    Subclassed,
    gated_activations,
    transposed_and_conv1d,
]


def build(make, images):
    """Make a model, seeded, built and with real-looking weights."""
    keras.utils.set_random_seed(3)
    model = make()
    model(images[:1])
    return randomized(model)
