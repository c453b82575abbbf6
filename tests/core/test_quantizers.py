"""Integers and fake quantization against the blind oracle."""

import numpy as np
import pytest
import tensorflow as tf

from qsparse.quantizers import (
    fake_quantize_activations,
    fake_quantize_weights,
    integer_weights,
)
from tests import oracles


@pytest.mark.parametrize("kernel", ["conv", "dense"])
def test_weights(trained_weights, kernel):
    weights = trained_weights[kernel].copy()
    weights[:, :, 3] = 0.0
    q, scale = integer_weights(weights)
    expected_q, expected_scale = oracles.int8_weights(weights)
    np.testing.assert_array_equal(q, expected_q)
    np.testing.assert_array_equal(scale, expected_scale)
    fake = fake_quantize_weights(weights, (0, 1)).numpy()
    np.testing.assert_array_equal(fake, oracles.fake_quant_weights(weights))
    assert (fake[:, :, 3] == 0).all()


def test_weight_gradient_passes_straight_through(trained_weights):
    variable = tf.Variable(trained_weights["dense"])
    with tf.GradientTape() as tape:
        fake = fake_quantize_weights(tf.convert_to_tensor(variable), (0, 1))
        loss = tf.reduce_sum(fake * 3.0)
    np.testing.assert_array_equal(tape.gradient(loss, variable).numpy(), 3.0)


@pytest.mark.parametrize("low, high", [(0.0, 1.0), (-0.7, 2.3), (-4.0, 0.0)])
def test_activations(images, low, high):
    values = (images[0][:8] - 0.3) * 4.0
    expected = oracles.fake_quant_activation(values, low, high)
    actual = fake_quantize_activations(tf.constant(values), low, high).numpy()
    np.testing.assert_array_equal(actual, expected)
    assert fake_quantize_activations(tf.zeros(1), low, high).numpy() == 0.0
