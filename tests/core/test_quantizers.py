"""Integers and fake quantization against the blind oracle."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from qsparse.callbacks import Quantize
from qsparse.compressor import compressed_layers
from qsparse.keras_compat import own_kernel
from qsparse.quantizers import (
    fake_quantize_activations,
    fake_quantize_if,
    integer_weights,
    round_weights,
)
from tests import oracles
from tests.conftest import compiled


@pytest.mark.parametrize("kernel", ["conv", "dense"])
def test_weights(trained_weights, kernel):
    weights = trained_weights[kernel].copy()
    weights[:, :, 3] = 0.0
    q, scale = integer_weights(weights)
    expected_q, expected_scale = oracles.int8_weights(weights)
    np.testing.assert_array_equal(q, expected_q)
    np.testing.assert_array_equal(scale, expected_scale)
    fake = round_weights(weights, (0, 1)).numpy()
    np.testing.assert_array_equal(fake, oracles.fake_quant_weights(weights))
    assert (fake[:, :, 3] == 0).all()


def test_weight_gradient_passes_straight_through(images):
    x, y = images[0][:64, 12:16, 12:16].reshape(64, 16), images[1][:64]
    layer = keras.layers.Dense(12)
    model = compiled(keras.Sequential([keras.Input((16,)), layer]))
    model.fit(x, y, verbose=0, callbacks=[Quantize()])
    (kernel,) = compressed_layers(model)
    master = own_kernel(layer).value
    with tf.GradientTape() as tape:
        fake = kernel.effective_kernel()
        loss = tf.reduce_sum(fake * 3.0)
    np.testing.assert_array_equal(tape.gradient(loss, master), 3.0)
    np.testing.assert_array_equal(fake, round_weights(master, (0,)))
    assert (fake != master).numpy().any()


@pytest.mark.parametrize("low, high", [(0.0, 1.0), (-0.7, 2.3), (-4.0, 0.0)])
def test_activations(images, low, high):
    values = (images[0][:8] - 0.3) * 4.0
    expected = oracles.fake_quant_activation(values, low, high)
    actual = fake_quantize_activations(tf.constant(values), low, high).numpy()
    np.testing.assert_array_equal(actual, expected)
    assert fake_quantize_activations(tf.zeros(1), low, high).numpy() == 0.0


@pytest.mark.parametrize("low, high", [(0.0, 1.0), (-0.7, 2.3), (-4.0, 0.0), (0, 0)])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_the_gradient_is_that_of_fake_quantization(images, low, high, dtype):
    values = tf.cast(tf.constant((images[0][:8] - 0.3) * 4.0), dtype)
    limits = tf.constant([low, high], tf.float32)
    on = tf.constant(high > low)

    @tf.function
    def ours(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = fake_quantize_if(on, x, limits)
            loss = tf.reduce_sum(y * y)
        return y, tape.gradient(loss, x)

    with tf.GradientTape() as tape:
        tape.watch(values)
        y = fake_quantize_activations(values, low, high) if high > low else values
        loss = tf.reduce_sum(y * y)
    wanted = tape.gradient(loss, values)
    rounded, gradient = ours(values)
    np.testing.assert_array_equal(rounded, y)
    np.testing.assert_array_equal(gradient, wanted)
    assert gradient.dtype == values.dtype
    if high > low:
        assert 0.05 < np.mean(gradient == 0) < 0.95
