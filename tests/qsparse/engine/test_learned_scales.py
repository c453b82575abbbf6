"""Weights whose scales the optimizer trains."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import qsparse
from qsparse import IntN, LearnedInt, Recipe, Rule
from qsparse.callbacks import Compress, Prune, PruneThenQuantize, Quantize
from qsparse.engine.compressor import compressed_layers, state_of
from qsparse.engine.trained import trained_ranges
from tests import perceptron
from tests.perceptron import mlp

pytestmark = pytest.mark.filterwarnings("ignore:Training makes .* steps from where")

# A kernel of each layout: by how many axes its outputs are told apart, and where.
LAYERS = {
    "dense": ((5,), lambda: layers.Dense(3, use_bias=False)),
    "conv": ((4, 4, 2), lambda: layers.Conv2D(3, 2, use_bias=False)),
    "depthwise": ((4, 4, 2), lambda: layers.DepthwiseConv2D(2, use_bias=False)),
    "einsum": ((4, 6), lambda: layers.EinsumDense("abc,cde->abde", (None, 2, 3))),
}


def learning(shape, make, format):
    """Return a model of one layer that computes with learned scales, and the layer."""
    keras.utils.set_random_seed(5)
    model = keras.Sequential([keras.Input(shape), make()])
    qsparse.attach(model, Recipe(None, format=format))
    state_of(model).quantizing.assign(True)
    return model, compressed_layers(model)[0]


def by_loops(weights, upstream, share, bits):
    """Return one channel rounded, and gradients of its weights and its share (LSQ)."""
    largest = 2 ** (bits - 1) - 1
    most = max(abs(w) for w in weights)
    scale = most * share / largest
    rounded, slopes, of_scale = [], [], 0.0
    for w, g in zip(weights, upstream, strict=True):
        if abs(w) <= largest * scale:
            code = round(w / scale)
            slopes.append(g)
            of_scale += g * (code - w / scale)
        else:
            code = largest if w > 0 else -largest
            slopes.append(0.0)
            of_scale += g * code
        rounded.append(code * scale)
    of_scale /= np.sqrt(largest * len(weights))
    return rounded, slopes, of_scale


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("name", LAYERS)
def test_values_and_gradients_are_those_of_the_paper(name, bits):
    model, layer = learning(*LAYERS[name], LearnedInt(bits))
    kernel, scales = layer.master_variable, layer.scales
    rng = np.random.default_rng(bits)
    scales.begun.assign(rng.uniform(0.4, 0.9, scales.begun.shape))
    scales.grown.assign(rng.uniform(-0.4, 0.3, scales.grown.shape))
    upstream = rng.normal(size=kernel.shape).astype(np.float32)
    with tf.GradientTape() as tape:
        effective = layer.effective_kernel()
        total = tf.reduce_sum(effective * upstream)
    of_kernel, of_grown = tape.gradient(total, [kernel.value, scales.grown.value])

    def channels(values):
        canonical = layer.layout.canonical(np.asarray(values, np.float64))
        return canonical.reshape(-1, canonical.shape[2]).T

    begun = scales.begun.numpy().astype(float)
    shares = begun * (1 + scales.grown.numpy())
    found = zip(channels(effective), channels(of_kernel), of_grown.numpy(), strict=True)
    for channel, (values, slopes, grown) in enumerate(found):
        weights = channels(kernel)[channel]
        expected, of_weights, of_scale = by_loops(
            weights.tolist(),
            channels(upstream)[channel].tolist(),
            shares[channel],
            bits,
        )
        np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(slopes, of_weights, rtol=1e-6)
        # A step of SGD moves the scale as far as one by the paper's gradient would.
        moved = grown * begun[channel] * np.abs(weights).max() / (2 ** (bits - 1) - 1)
        assert moved == pytest.approx(of_scale, rel=1e-4, abs=1e-6)
    codes, scale = layer.canonical_integers()
    decoded = layer.layout.kernel(codes.astype(np.float32) * scale)
    np.testing.assert_array_equal(decoded, effective.numpy())
    assert np.abs(codes).max() <= 2 ** (bits - 1) - 1


@pytest.mark.parametrize("per_channel", [True, False])
def test_the_start_rounds_better_than_the_greatest_weight(trained_weights, per_channel):
    weights = trained_weights["conv"]
    for bits in (2, 3, 4, 8):
        learned, plain = LearnedInt(bits, per_channel), IntN(bits, per_channel)
        start = learned.start(weights)
        assert start.shape == weights.shape[2:]
        assert per_channel or len(set(start.tolist())) == 1
        axes = (0, 1) if per_channel else None
        ends = np.abs(weights).max(axis=axes) * start
        ours = learned.decode(*learned.coded(weights, ends)) - weights
        theirs = plain.decode(*plain.encode(weights)) - weights
        assert ((ours**2).sum(axes) <= (theirs**2).sum(axes) + 1e-9).all()
        if bits == 2:
            assert (ours**2).sum() < 0.8 * (theirs**2).sum()


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_weights_of_other_types_are_rounded_as_the_file_has_them(dtype):
    def make():
        return layers.Dense(3, dtype=dtype, use_bias=False)

    model, layer = learning((5,), make, LearnedInt(4))
    with tf.GradientTape() as tape:
        effective = layer.effective_kernel()
        total = tf.reduce_sum(effective * effective)
    (slope,) = tape.gradient(total, [layer.master_variable.value])
    assert effective.dtype == slope.dtype == dtype
    codes, scale = layer.canonical_integers()
    held = tf.cast(layer.layout.kernel(codes.astype(np.float32) * scale), dtype)
    assert bool(tf.reduce_all(effective == held))


def test_channels_of_zeros_stay_zero_and_have_no_gradient():
    model, layer = learning((5,), lambda: layers.Dense(3), LearnedInt(4))
    kernel = layer.master_variable
    kernel.assign(kernel.numpy() * [1.0, 0.0, 1.0])
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(layer.effective_kernel())
    slope = tape.gradient(total, layer.scales.grown.value).numpy()
    assert np.isfinite(slope).all() and slope[1] == 0.0
    assert (layer.effective_kernel().numpy()[:, 1] == 0).all()


def test_scales_train_and_pruned_weights_stay_zero(pixels):
    model = mlp()
    callback = PruneThenQuantize("4x4", 0.5, format="learned-int4")
    perceptron.fit(model, pixels, [callback], epochs=4)
    assert [row.format for row in callback.coverage.layers][0] == "learned-int4"
    for layer in compressed_layers(model):
        assert layer.scales.grown.numpy().any()
        mask = layer.canonical_mask()
        assert mask is None or (layer.canonical_integers()[0][~mask] == 0).all()


@pytest.mark.parametrize("order", ["S->Q", "Q->S"])
def test_they_begin_with_the_weights_that_quantization_begins_with(pixels, order):
    class Begun(keras.callbacks.Callback):
        found = None

        def on_train_batch_begin(self, batch, logs=None):
            if self.found is None and state_of(self.model).fake_quantizes:
                layers = compressed_layers(self.model)
                self.found = [(each, each.scales.begun.numpy()) for each in layers]
                masks = [each.canonical_mask() for each in layers]
                self.weights = [each.master() for each in layers]
                if order == "S->Q":
                    pairs = zip(self.weights, masks, strict=True)
                    self.weights = [weights * mask for weights, mask in pairs]

    model, begun = mlp(), Begun()
    recipe = Recipe("unstructured", 0.75, format="learned-int2", order=order)
    perceptron.fit(model, pixels, [Compress(recipe), begun], epochs=4)
    for (layer, shares), weights in zip(begun.found, begun.weights, strict=True):
        expected = layer.plan.weight_format.start(weights)
        assert (expected < 1).any()
        np.testing.assert_array_equal(shares.reshape(-1), expected)


def test_a_rule_has_one_layer_learn_and_it_may_come_later(pixels):
    model = mlp()
    perceptron.fit(model, pixels, [Prune()])
    assert not trained_ranges(model)
    rules = [Rule("head", format="learned-int3")]
    perceptron.fit(model, pixels, [Quantize(rules=rules)])
    hidden, head = compressed_layers(model)
    assert hidden.scales is None and head.scales.grown.numpy().any()
    qsparse.strip(model)
    assert type(model.layers[0]) is layers.Dense
    perceptron.fit(model, pixels, [])


def test_what_one_shot_finds_is_what_the_layer_computes_with(pixels):
    model = mlp()
    recipe = Recipe("4x4", 0.5, format=LearnedInt(4))
    qsparse.one_shot(model, recipe, pixels[0], verbose=0)
    for layer in compressed_layers(model):
        held = layer.layout.canonical(np.asarray(layer.effective_kernel()))
        np.testing.assert_array_equal(held, layer.master())
    perceptron.fit(model, pixels, [Compress(recipe)])
    assert all(v.numpy().any() for v in trained_ranges(model))


def test_names_and_errors():
    recipe = Recipe(
        format="learned-int4", rules=[Rule("a", format=LearnedInt(2, False))]
    )
    assert recipe.format == LearnedInt(4)
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    assert Recipe(format="learned-int").format == LearnedInt(4)
    assert str(LearnedInt(2, False)) == "learned-int2 per tensor"
    with pytest.raises(ValueError, match="`bits` must be 2 to 8"):
        Recipe(format="learned-int9")
