"""Int8: codes and fake quantization against the blind oracle."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from qsparse import IntN, Recipe, Rule
from qsparse.callbacks import Quantize
from qsparse.engine.compressor import compressed_layers
from qsparse.keras_compat import own_kernel
from qsparse.methods.formats import FORMATS, Int8
from tests import oracles
from tests.conftest import compiled


@pytest.mark.parametrize("kernel", ["conv", "dense"])
def test_weights(trained_weights, kernel):
    weights = trained_weights[kernel].copy()
    weights[:, :, 3] = 0.0
    q, scale = Int8().encode(weights)
    expected_q, expected_scale = oracles.int8_weights(weights)
    np.testing.assert_array_equal(q, expected_q)
    np.testing.assert_array_equal(scale, expected_scale)
    fake = Int8().fake(weights).numpy()
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
    np.testing.assert_array_equal(fake, Int8().fake(master[None])[0])
    assert (fake != master).numpy().any()


@pytest.mark.parametrize("low, high", [(0.0, 1.0), (-0.7, 2.3), (-4.0, 0.0)])
def test_activations(images, low, high):
    values = (images[0][:8] - 0.3) * 4.0
    expected = oracles.fake_quant_activation(values, low, high)
    actual = Int8().fake_activations(tf.constant(values), low, high).numpy()
    np.testing.assert_array_equal(actual, expected)
    assert Int8().fake_activations(tf.zeros(1), low, high).numpy() == 0.0


@pytest.mark.parametrize("low, high", [(0.0, 1.0), (-0.7, 2.3), (-4.0, 0.0)])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_activations_outside_the_range_have_no_gradient(images, low, high, dtype):
    values = tf.cast(tf.constant((images[0][:8] - 0.3) * 4.0), dtype)
    with tf.GradientTape() as tape:
        tape.watch(values)
        loss = tf.reduce_sum(
            3.0 * tf.cast(Int8().fake_activations(values, low, high), "float32")
        )
    gradient = tape.gradient(loss, values)
    assert gradient.dtype == values.dtype
    *_, least, greatest = oracles.activation_grid(low, high)
    x = tf.cast(values, "float32").numpy()
    np.testing.assert_array_equal(gradient, 3.0 * ((x >= least) & (x <= greatest)))
    assert 0.05 < np.mean(gradient == 0) < 0.95


def test_decoding_gives_what_fake_quantization_computes(trained_weights):
    weights = trained_weights["conv"]
    decoded = Int8().decode(*Int8().encode(weights))
    np.testing.assert_array_equal(decoded, Int8().fake(weights))


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("bits", [2, 3, 4, 7, 8])
def test_weights_of_a_few_bits(trained_weights, bits, per_channel):
    weights = trained_weights["conv"].copy()
    weights[:, :, 3] = 0.0
    largest = 2 ** (bits - 1) - 1
    format = IntN(bits, per_channel)
    q, scale = format.encode(weights)
    assert q.dtype == np.int8 and scale.shape == weights.shape[2:]
    assert np.abs(q).max() == largest and (q[:, :, 3] == 0).all()
    for channel in range(weights.shape[2]):
        part = weights if not per_channel else weights[:, :, channel]
        end = max(abs(float(value)) for value in part.ravel())
        step = np.float32(end) / np.float32(largest) if end else np.float32(1)
        assert scale[channel] == step
        expected = np.rint(weights[:, :, channel] / step)
        np.testing.assert_array_equal(q[:, :, channel], expected)
    fake = format.fake(weights).numpy()
    np.testing.assert_array_equal(fake, format.decode(q, scale))
    if bits == 8 and per_channel:
        np.testing.assert_array_equal(fake, Int8().fake(weights))


def test_formats_of_few_bits_go_by_text():
    recipe = Recipe(format="int4", rules=[Rule("head", format=IntN(3, False))])
    assert recipe.format == IntN(4) and Recipe.from_dict(recipe.to_dict()) == recipe
    assert Recipe(format="int8").format == Int8()
    assert [str(f) for f in (Int8(), IntN(4), IntN(2, False))] == [
        "int8",
        "int4",
        "int2 per tensor",
    ]
    for wrong, message in (
        ("int9", "`bits` must be 2 to 8"),
        ("int", None),
        ({"name": "int", "bits": 1}, "`bits` must be 2 to 8"),
        ({"name": "int", "per_channel": 1}, "`per_channel` must be True or False"),
        ("float4", "Unknown format"),
    ):
        if message is None:
            assert FORMATS.get(wrong) == IntN()
            continue
        with pytest.raises(ValueError, match=message):
            FORMATS.get(wrong)
