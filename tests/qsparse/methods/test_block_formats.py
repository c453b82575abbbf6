"""Formats with scales of blocks: MX against ml_dtypes, HBFP against loops."""

import json
import math

import keras
import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

import qsparse
from qsparse import HBFP, MX, BlockInt, FewBits, Recipe
from qsparse.callbacks import Joint, PruneThenQuantize
from qsparse.engine.compressor import compressed_layers, state_of
from qsparse.methods.formats import FORMATS
from tests import perceptron
from tests.perceptron import mlp

ELEMENTS = {
    "e4m3": ml_dtypes.float8_e4m3fn,
    "e5m2": ml_dtypes.float8_e5m2,
    "e2m3": ml_dtypes.float6_e2m3fn,
    "e3m2": ml_dtypes.float6_e3m2fn,
    "e2m1": ml_dtypes.float4_e2m1fn,
}
TRIED = [*map(MX, ELEMENTS), MX(block=5), HBFP(8), HBFP(6), HBFP(4, 16)]
TRIED += [BlockInt(), BlockInt(8), BlockInt(3, False, 8)]


def as_paper_says(block, format):
    """Return one block rounded, number by number, in float64."""
    most = max(abs(float(x)) for x in block)
    if isinstance(format, BlockInt):
        low, high = min(0.0, *map(float, block)), max(0.0, *map(float, block))
        largest = 2**format.bits - 1
        if format.symmetric:
            low, high, largest = 0.0, most, 2 ** (format.bits - 1) - 1
        step = np.float32(np.float32(high - low) / np.float32(largest)) or np.float32(1)
        zero = np.rint(np.float32(-low) / step)
        least = -largest if format.symmetric else 0.0
        codes = [np.rint(np.float32(x) / step) + zero for x in block]
        return [(min(max(q, least), largest) - zero) * step for q in codes]
    if isinstance(format, HBFP):
        most = np.float32(most) + np.float32(1e-8)  # which may leave it as it is
        exponent = math.ceil(math.log2(float(most)))
        step = 2.0 ** (exponent - (format.bits - 1))
        largest = 2 ** (format.bits - 1) - 1
        codes = [max(-largest, min(largest, round(float(x) / step))) for x in block]
        return [code * step for code in codes]
    element = ELEMENTS[format.element]
    largest = float(ml_dtypes.finfo(element).max)
    if most == 0:
        return [0.0] * len(block)
    scale = 2.0 ** (math.floor(math.log2(most)) - math.floor(math.log2(largest)))
    found = []
    for x in block:
        clipped = max(-largest, min(largest, float(x) / scale))
        found.append(float(np.float32(clipped).astype(element)) * scale)
    return found


@pytest.mark.parametrize("spread", [1e-3, 1.0, 40.0])
@pytest.mark.parametrize("format", TRIED, ids=str)
def test_every_block_is_rounded_as_it_is_written(format, spread):
    rng = np.random.default_rng(3)
    weights = rng.standard_t(3, size=(2, 70, 3)).astype(np.float32) * spread
    weights[0, :40, 0] = 0.0
    weights[1, 3, :] = 2.0 ** np.arange(3)
    expected = np.empty(weights.shape)
    for tap, output in np.ndindex(2, 3):
        for first in range(0, 70, format.block):
            block = slice(first, first + format.block)
            expected[tap, block, output] = as_paper_says(
                weights[tap, block, output], format
            )
    fake = ops.convert_to_numpy(format.fake(weights))
    np.testing.assert_array_equal(fake, expected.astype(np.float32))
    codes, scale = format.encode(weights)
    np.testing.assert_array_equal(format.decode(codes, scale), fake)
    if not isinstance(format, BlockInt):
        assert (np.log2(scale) % 1 == 0).all()


@pytest.mark.parametrize("element", ELEMENTS)
def test_elements_are_those_of_ml_dtypes(element):
    """All numbers between two elements and on them, ties and beyond included."""
    bits = {"e4m3": 8, "e5m2": 8, "e2m3": 6, "e3m2": 6, "e2m1": 4}[element]
    codes = np.arange(2**bits, dtype=np.uint8).view(ELEMENTS[element])
    values = codes.astype(np.float32)
    values = np.unique(values[np.isfinite(values)])
    middles = (values[1:] + values[:-1]) / 2
    nearly = np.nextafter(middles, values[1:]), np.nextafter(middles, values[:-1])
    tried = np.concatenate([values, middles, *nearly]).astype(np.float32)
    found = ops.convert_to_numpy(MX(element).elements(tried))
    expected = tried.astype(ELEMENTS[element]).astype(np.float32)
    np.testing.assert_array_equal(found, expected)
    beyond = ops.convert_to_numpy(MX(element).elements(values[[-1]] * 1.9))
    np.testing.assert_array_equal(beyond, values[[-1]])


def test_weights_of_a_depthwise_convolution_share_scales_along_taps():
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(9, 1, 4)).astype(np.float32)
    along = MX("e2m1").fake(np.moveaxis(weights, 0, 1))
    found = ops.convert_to_numpy(MX("e2m1").fake(weights))
    np.testing.assert_array_equal(found, np.moveaxis(np.asarray(along), 1, 0))


def test_activations_share_scales_along_features():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 3, 40)).astype(np.float32)
    found = np.asarray(MX("e2m3").fake_activations(ops.convert_to_tensor(x), 0.0, 0.0))
    expected = [
        as_paper_says(row[first : first + 32], MX("e2m3"))
        for row in x.reshape(-1, 40)
        for first in (0, 32)
    ]
    np.testing.assert_array_equal(found.ravel(), np.concatenate(expected))


def test_names_and_errors():
    for text, format in (
        ("mxfp8", MX("e4m3")),
        ("mxfp8-e5m2", MX("e5m2")),
        ("MXFP6", MX("e2m3")),
        ("mxfp6-e3m2", MX("e3m2")),
        ("mxfp4", MX("e2m1")),
        ("hbfp6", HBFP(6)),
    ):
        assert FORMATS.get(text) == format and str(format) == text.lower()
        recipe = Recipe(format=text)
        assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
    for wrong, message in (
        ("mxfp6-e4m3", "Unknown format"),
        ({"name": "mx", "element": "e8m0"}, "`element` must be one of e4m3, e5m2"),
        ({"name": "mx", "block": 0}, "`block` must be positive"),
        ("hbfp1", "`bits` must be 2 to 16"),
        ({"name": "block-int", "bits": 9}, "`bits` must be 2 to 8"),
        ({"name": "block-int", "symmetric": 0}, "`symmetric` must be True or False"),
    ):
        with pytest.raises(ValueError, match=message):
            FORMATS.get(wrong)


@pytest.mark.parametrize("order", ["S->Q", "Q->S"])
@pytest.mark.parametrize("format", ["mxfp4", "hbfp4"])
def test_they_train_in_both_orders_and_are_not_exported(
    format, order, pixels, tmp_path
):
    model = mlp()
    callback = Joint("2:4", format=format, order=order)
    history = perceptron.fit(model, pixels, [callback], epochs=4).history
    assert history["loss"][-1] < history["loss"][0]
    for layer in compressed_layers(model):
        kernel = layer.layout.canonical(np.asarray(layer.effective_kernel()))
        codes, scale = layer.canonical_integers()
        np.testing.assert_array_equal(kernel, codes * scale)
        mask = layer.canonical_mask()
        assert mask is None or (kernel[~mask] == 0).all()
    refused = f"'hidden' trains in {format}, which cannot be exported"
    with pytest.raises(ValueError, match=refused):
        qsparse.export(model, tmp_path / "m.tflite", pixels[0][:64])
    assert not (tmp_path / "m.tflite").exists()


def test_one_shot_refuses_them_and_leaves_the_model_alone(pixels):
    model = mlp()
    with pytest.raises(ValueError, match="'hidden' is to be rounded to mxfp8, whose"):
        qsparse.one_shot(model, Recipe("2:4", format="mxfp8"), pixels[0], verbose=0)
    assert state_of(model) is None


def test_a_network_may_prune_in_float_and_then_train_in_blocks(pixels):
    model = mlp()
    callback = PruneThenQuantize("4x4", 0.5, format="mxfp8")
    perceptron.fit(model, pixels, [callback], epochs=4)
    assert {row.format for row in callback.coverage.layers} == {"mxfp8"}
    assert qsparse.unfinished(model) is None


def test_weights_and_activations_may_have_formats_of_their_own(pixels, tmp_path):
    rules = [qsparse.Rule("head", activations="mxfp4")]
    recipe = Recipe(None, format="int4", activations="mxfp8", rules=rules)
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
    model = mlp()
    perceptron.fit(model, pixels, [qsparse.callbacks.Compress(recipe)], epochs=2)
    hidden, head = compressed_layers(model)
    assert str(hidden.plan.weight_format) == str(head.plan.weight_format) == "int4"
    assert hidden.plan.input_format == MX("e4m3")
    assert head.plan.input_format == head.plan.output_format == MX("e2m1")
    x = pixels[0][:8]
    found = ops.convert_to_numpy(hidden.input_quantizer(x, training=False))
    np.testing.assert_array_equal(found, ops.convert_to_numpy(MX().rounded(x, -1)))
    for kind in ({}, {"quantize": False}, {"dynamic_range": True}):
        with pytest.raises(ValueError, match="'hidden' trains in mxfp8, which cannot"):
            qsparse.export(model, tmp_path / "m.tflite", x, **kind)
    again = mlp()
    int8 = {"activations": "int8", "format": "int4"}
    perceptron.fit(again, pixels, [qsparse.callbacks.Quantize(**int8)], epochs=2)
    qsparse.export(again, tmp_path / "m.tflite", pixels[0][:64])


def test_a_join_in_blocks_is_not_exported_either(pixels, tmp_path):
    inputs = keras.Input((16,))
    sides = [keras.layers.Dense(8, name=name)(inputs) for name in ("left", "right")]
    joined = keras.layers.Add(name="add")(sides)
    model = keras.Model(inputs, keras.layers.Dense(12, name="end")(joined))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    rules = [qsparse.Rule("add", activations=BlockInt(2, block=8))]
    recipe = Recipe(None, rules=rules, quantize_from=0.0)
    perceptron.fit(model, pixels, [qsparse.callbacks.Compress(recipe)])
    with pytest.raises(ValueError, match="'add' trains in int2 in blocks of 8, which"):
        qsparse.export(model, tmp_path / "m.tflite", pixels[0][:64])


def test_coverage_names_what_flows_into_layers_where_it_differs():
    report = qsparse.preview(mlp(), Recipe("2:4", format="int4", activations="mxfp4"))
    assert {row.format for row in report.layers} == {"int4, inputs mxfp4"}
    same = qsparse.preview(mlp(), Recipe("2:4", format=HBFP(8, 16)))
    assert {row.format for row in same.layers} == {"hbfp8 in blocks of 16"}


def test_activations_of_formats_for_weights_are_refused():
    for make in (
        lambda: Recipe(activations="int4"),
        lambda: qsparse.Rule("a", activations="learned-int4"),
    ):
        with pytest.raises(ValueError, match="is for weights.*activations='int8'"):
            make()
    with pytest.raises(ValueError, match="which has none: each block is scaled"):
        qsparse.attach(mlp(), Recipe(None, activations="mxfp8", observer="lsq"))


def test_gradients_of_activations_pass_and_types_stay():
    x = tf.constant(np.random.default_rng(0).normal(size=(3, 40)), tf.float16)
    with tf.GradientTape() as tape:
        tape.watch(x)
        found = MX("e2m1").fake_activations(x, 0.0, 0.0)
        total = tf.reduce_sum(found * 3)
    assert found.dtype == tf.float16 and (found.numpy() != x.numpy()).any()
    np.testing.assert_array_equal(tape.gradient(total, x), np.float16(3))


def test_images_of_any_size_train_in_blocks():
    inputs = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(5, 3)(inputs)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    model.compile("adam", "mse")
    rng = np.random.default_rng(0)
    recipe = Recipe(None, format="mxfp6", quantize_from=0.0)
    callback = qsparse.callbacks.Compress(recipe)
    model.fit(
        rng.normal(size=(8, 9, 7, 3)), np.ones((8, 2)), verbose=0, callbacks=[callback]
    )
    assert np.isfinite(model.predict(rng.normal(size=(2, 6, 8, 3)), verbose=0)).all()


def test_huge_and_tiny_numbers_stay_finite():
    weights = np.array([[[3e38], [1.0], [-2e38], [0.0]]], np.float32)
    for format in (each for each in TRIED if getattr(each, "symmetric", True)):
        found = ops.convert_to_numpy(format.fake(weights))
        assert np.isfinite(found).all() and found[0, 0, 0] > 2e38, format
        assert np.isfinite(ops.convert_to_numpy(format.fake(weights * 1e-38))).all()


STOCHASTIC = [
    MX("e2m1", rounding="stochastic"),
    MX("e5m2", rounding="stochastic"),
    HBFP(6, rounding="stochastic"),
    BlockInt(4, rounding="stochastic"),
    BlockInt(4, False, rounding="stochastic"),
]


@pytest.mark.parametrize("format", STOCHASTIC, ids=str)
def test_stochastic_rounding_goes_up_as_often_as_a_number_is_far_from_below(format):
    """Over seeds, in whole steps of nearest rounding's grid: mean and neighbors."""
    rng = np.random.default_rng(5)
    weights = rng.uniform(-0.9, 0.9, size=(1, 32, 40)).astype(np.float32)
    weights[0, 0] = 1.0  # the greatest of each block: no number is clipped
    weights[0, 1] = 0.0
    seeds = range(400)
    found = np.array(
        [
            ops.convert_to_numpy(
                type(format)(**vars(format) | {"seed": s}).fake(weights)
            )
            for s in seeds
        ],
        np.float64,
    )
    assert (found[:, 0, 1] == 0).all()
    levels = [np.unique(column) for column in found.reshape(len(seeds), -1).T]
    assert max(map(len, levels)) == 2  # below and above
    steps = np.array([level[-1] - level[0] for level in levels])
    share = (weights.ravel() - [level[0] for level in levels]) / np.maximum(steps, 1e-9)
    between = steps > 0
    assert between.mean() > 0.8
    assert ((share[between] > 0) & (share[between] < 1)).all()
    # A binomial's deviation is at most half of 1 / sqrt(400); 5 of them.
    ups = (found.reshape(len(seeds), -1) - [level[0] for level in levels]) / np.maximum(
        steps, 1e-9
    )
    assert np.abs(ups.mean(axis=0) - share)[between].max() < 5 * 0.5 / 20
    errors = found.mean(axis=0) - weights
    assert abs(errors.mean()) < 0.002


def test_stochastic_rounding_is_the_same_again_and_goes_by_its_seed():
    weights = np.random.default_rng(6).normal(size=(1, 64, 8)).astype(np.float32)
    one, same, other = (
        ops.convert_to_numpy(HBFP(4, rounding="stochastic", seed=s).fake(weights))
        for s in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, same)
    assert 0.1 < (one != other).mean() < 0.6
    nearest = ops.convert_to_numpy(HBFP(4).fake(weights))
    assert (one != nearest).any()
    # Numbers of the format stay, except that a block's greatest may be clipped.
    again = ops.convert_to_numpy(MX(rounding="stochastic").fake(weights))
    twice = ops.convert_to_numpy(MX(rounding="stochastic", seed=9).fake(again))
    np.testing.assert_array_equal(again, twice)


def test_stochastic_rounding_does_not_hang_on_the_last_bit_of_a_division():
    """Backends divide by a number, or multiply by one over it."""
    rng = np.random.default_rng(7)
    blocks = rng.normal(size=(1, 500, 32)).astype(np.float32)
    format = BlockInt(4, rounding="stochastic")
    scales = np.abs(blocks).max(-1, keepdims=True) / np.float32(7)
    one, other = (
        ops.convert_to_numpy(format.whole_numbers(scaled, blocks))
        for scaled in (blocks / scales, blocks * (np.float32(1) / scales))
    )
    assert (one != other).mean() < 1e-3


@pytest.mark.parametrize("noise", [0.0, 1 - 2.0**-24])
def test_stochastic_integers_stay_in_their_range(noise, monkeypatch):
    made = "qsparse.methods.formats.blockwise.noise"
    monkeypatch.setattr(made, lambda values, seed: np.float32(noise))
    weights = np.random.default_rng(8).normal(size=(1, 32, 2000)).astype(np.float32)
    codes, _ = BlockInt(4, rounding="stochastic").encode(weights)
    assert np.abs(codes).max() == 7


def test_stochastic_rounding_has_names_and_errors():
    for text in ("hbfp6-stochastic", "mxfp8-e5m2-stochastic", "mxfp4-stochastic"):
        assert str(FORMATS.get(text)) == text
        assert FORMATS.get(FORMATS.to_dict(FORMATS.get(text))) == FORMATS.get(text)
    assert "(seed 3)" in str(BlockInt(4, rounding="stochastic", seed=3))
    with pytest.raises(ValueError, match="`rounding` must be one of nearest, stochas"):
        HBFP(rounding="random")
    with pytest.raises(ValueError, match="`seed` must be in"):
        MX(seed=-1)


def test_few_bits_of_activations_have_as_few_levels(pixels, tmp_path):
    format = FORMATS.get("a4w3")
    assert (format, str(format)) == (FewBits(3, activations=4), "a4w3")
    x = np.linspace(-1.0, 2.0, 500, dtype=np.float32)
    found = ops.convert_to_numpy(format.fake_activations(x, -1.0, 2.0))
    levels = np.unique(found)
    assert len(levels) == 16
    np.testing.assert_allclose(np.diff(levels), 3.0 / 15, rtol=1e-5)
    assert np.abs(found - x).max() <= 0.1 + 1e-6
    weights = np.linspace(-2.0, 2.0, 500, dtype=np.float32).reshape(1, 500, 1)
    assert len(np.unique(ops.convert_to_numpy(format.fake(weights)))) == 7
    model = mlp()
    perceptron.fit(model, pixels, [Joint("2:4", format="a4w3")], epochs=2)
    with pytest.raises(ValueError, match="trains in a4w3, which cannot be exported"):
        qsparse.export(model, tmp_path / "m.tflite", representative_data=pixels[0][:40])
    for wrong in (1, 8):
        with pytest.raises(ValueError, match="`activations` must be 2 to 7"):
            FewBits(4, activations=wrong)


@pytest.mark.parametrize("shape", [(1, 32, 4000), (500, 32, 8)])
def test_equal_numbers_at_many_places_are_rounded_by_themselves(shape):
    """Of outputs, of taps and of samples, as a background of images."""
    x = np.full(shape, -0.35, np.float32)
    x[:, 0] = 1.0
    format = HBFP(4, rounding="stochastic")
    weights = ops.convert_to_numpy(format.fake(x))[:, 1:]
    assert weights.mean() == pytest.approx(-0.35, abs=0.002)
    samples = np.moveaxis(x, 1, -1)
    found = ops.convert_to_numpy(format.fake_activations(samples, -1.0, 1.0))[..., 1:]
    assert found.mean() == pytest.approx(-0.35, abs=0.002)
    for axis in range(3):  # No axis has rows that are all alike.
        means = found.mean(axis=tuple({0, 1, 2} - {axis}))
        step = 1 / 8
        deviation = 0.5 * step / np.sqrt(found.size / len(means))
        assert np.abs(means + 0.35).max() < 6 * deviation


def test_stochastic_rounding_trains_with_batches_of_any_size(pixels):
    model = mlp()
    callback = Joint("2:4", format="hbfp6-stochastic", quantize_from=0.0)
    history = perceptron.fit(model, pixels, [callback], epochs=3).history
    assert np.isfinite(history["loss"]).all()
    for rows in (1, 7):
        assert np.isfinite(model.predict(pixels[0][:rows], verbose=0)).all()
