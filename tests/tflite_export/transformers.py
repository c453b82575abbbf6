"""Transformers whose streams, neurons and masks are as unkind as trained ones."""

import keras
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from keras import layers

import qsparse
from tests.tflite_export import models

CHANNELS, LOUD_CHANNEL, LOUD_NEURON = 32, 3, 5


def gelu(approximate):
    return layers.Activation(tanh_gelu if approximate else "gelu")


def tanh_gelu(x):
    return keras.activations.gelu(x, approximate=True)


def transformer(order="pre", approximate=False, scale=1.0, neuron=1.0):
    """Return one block whose stream has a loud channel, its layer a loud neuron."""
    keras.utils.set_random_seed(5)
    inputs = keras.Input((28, 28))
    x = layers.Dense(CHANNELS, name="embed")(inputs)
    x = layers.Add()([x, layers.Dense(CHANNELS)(inputs)])
    attention = layers.MultiHeadAttention(4, 8)
    feed = [
        layers.Dense(64, name="first"),
        gelu(approximate),
        layers.Dense(CHANNELS, name="second"),
    ]
    norms = [layers.LayerNormalization() for _ in range(3)]
    y = norms[0](x)
    x = x if order == "pre" else y
    x = layers.Add()([x, attention(y, y)])
    x = x if order == "pre" else norms[1](x)
    y = norms[1](x) if order == "pre" else x
    for layer in feed:
        y = layer(y)
    x = norms[2](layers.Add()([x, y]))
    model = models.randomized(keras.Model(inputs, layers.Dense(10)(x)))
    for norm in norms:
        if norm.built:
            # As training leaves it: no channel drowns the others behind it.
            norm.gamma.assign(np.full(CHANNELS, max(scale / 6, 1)))
            enlarge(norm, LOUD_CHANNEL, min(2 / scale, 1))
    enlarge(model.get_layer("embed"), LOUD_CHANNEL, scale)
    enlarge(model.get_layer("first"), LOUD_NEURON, neuron)
    kernel = model.get_layer("second").kernel
    shares = np.where(np.arange(64) == LOUD_NEURON, 1 / neuron, 1.0)
    kernel.assign(kernel.numpy() * shares[:, None])
    return model


def enlarge(layer, channel, factor):
    for variable in layer.weights:
        value = variable.numpy()
        value[..., channel] *= factor
        variable.assign(value)


def masked_by(how):
    """Return attention over the first tokens only, the others hidden by -1e9."""
    keras.utils.set_random_seed(5)
    inputs, mask = keras.Input((28, 28), name="a"), keras.Input((28,), name="b")
    x = layers.Dense(CHANNELS)(inputs)
    if how == "attention_mask":
        x = layers.MultiHeadAttention(4, 8)(x, x, attention_mask=mask[:, None, :])
    else:
        q, k = (layers.Dense(CHANNELS, name=name)(x) for name in ("query", "key"))
        v = layers.Dense(CHANNELS)(x)
        scores = keras.ops.matmul(q, keras.ops.swapaxes(k, 1, 2))
        if how == "softmax":
            scores = layers.Softmax()(scores, mask=mask[:, None, :] > 0.5)
        else:
            hidden = (1.0 - mask)[:, None, :] * -1e9
            if how == "two_large":
                hidden = mask[:, None, :] * 1e9 - 1e9
            scores = scores + hidden
            if how == "two":  # and none looks ahead: a constant
                scores = scores + np.triu(np.full((28, 28), -1e9, np.float32), 1)
            scores = layers.Softmax()(scores)
        x = keras.ops.matmul(scores, v)
    model = models.randomized(keras.Model([inputs, mask], layers.Dense(10)(x)))
    for variable in model.weights:  # scores wide enough to choose between tokens
        if "query" in variable.path or "key" in variable.path:
            variable.assign(variable * 3)
    return model


def stream(final, use_bias):
    """Return a pre-norm stream with a loud channel that ends in a layer, or a norm."""
    keras.utils.set_random_seed(5)
    inputs = keras.Input((28, 28))
    x = layers.Dense(CHANNELS, use_bias=use_bias, name="loud")(inputs)
    for index in range(2):
        y = layers.LayerNormalization()(x)
        y = layers.Dense(64, activation="gelu", use_bias=use_bias)(y)
        x = x + layers.Dense(CHANNELS, use_bias=use_bias, name=f"loud_{index}")(y)
    x = layers.LayerNormalization()(x) if final == "norm" else x
    x = layers.GlobalAveragePooling1D()(x) if final == "pool" else x
    model = keras.Model(inputs, layers.Dense(10, use_bias=use_bias)(x))
    for layer in model.layers:
        if layer.name.startswith("loud"):
            layer.kernel.assign(layer.kernel * loudness(100.0))
    if final != "norm":
        kernel = model.layers[-1].kernel
        kernel.assign(kernel / loudness(100.0)[:, None])
    return model


def loudness(scale):
    return np.where(np.arange(CHANNELS) == LOUD_CHANNEL, scale, 1.0)


def file_error(model, data, path, **arguments):
    """Return the mean error of a file against the float model, in parts of its std."""
    arguments = {"inference_type": "float32", "min_sqnr": -200, **arguments}
    report = qsparse.export(model, path, data, **arguments)
    arrays = data if isinstance(data, list) else [data]
    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    run = interpreter.get_signature_runner()
    names = sorted(run.get_input_details())
    got = np.concatenate(
        [
            run(**{n: a[i : i + 1] for n, a in zip(names, arrays, strict=True)})[
                "output"
            ]
            for i in range(len(arrays[0]))
        ]
    )
    wanted = model.predict(data, verbose=0)
    return float(np.abs(got - wanted).mean() / wanted.std()), report
