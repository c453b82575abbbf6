"""Ranges that observers see, against loops in numpy."""

import keras
import numpy as np
import pytest

from qsparse import LeastError, MinMax, MovingAverage, Percentile, Recipe
from qsparse.callbacks import Quantize
from qsparse.engine.compressor import compressed_layers
from qsparse.methods.observers import sizes_by
from tests import perceptron
from tests.perceptron import mlp


def seen(observer, values):
    found = sizes_by(observer, keras.ops.convert_to_tensor(values.astype(np.float32)))
    return keras.ops.convert_to_numpy(found)


@pytest.fixture
def outliers():
    """Return values around zero, with one far away."""
    values = np.random.default_rng(0).normal(size=(40, 50)).astype(np.float32)
    values[7, 9] = 60.0
    return values


@pytest.mark.parametrize("observer", [MovingAverage(), MinMax()])
def test_all_is_seen(observer, outliers):
    np.testing.assert_array_equal(seen(observer, outliers), [-outliers.min(), 60.0])
    np.testing.assert_array_equal(seen(observer, np.array([2.0, 5.0])), [0.0, 5.0])


def test_percentiles_cut_both_ends(outliers):
    found = seen(Percentile(percent=99.0), outliers)
    low, high = np.percentile(outliers, [1.0, 99.0])
    np.testing.assert_allclose(found, [-low, high], rtol=1e-5)
    np.testing.assert_array_equal(seen(Percentile(percent=100.0), outliers)[1], 60.0)


def test_the_best_range_is_found():
    values = np.random.default_rng(0).normal(size=(300, 500)).astype(np.float32)
    values[7, 9] = 30.0
    found = seen(LeastError(), values)
    widest = np.array([-values.min(), values.max()], np.float32)
    looked_at = values.ravel()[:: values.size // 8192 + 1]
    errors = []
    for share in np.geomspace(1 / 16, 1.0, 24):
        low, high = -widest[0] * share, widest[1] * share
        step = (high - low) / 255
        total = 0.0
        for value in looked_at:
            total += (np.rint(np.clip(value, low, high) / step) * step - value) ** 2
        errors.append((total, share))
    share = min(errors)[1]
    assert 0.1 < share < 0.9
    np.testing.assert_allclose(found, widest * share, rtol=1e-5)
    flat = np.linspace(-1, 1, 256)
    np.testing.assert_allclose(seen(LeastError(), flat), [1.0, 1.0])
    np.testing.assert_array_equal(seen(LeastError(), np.zeros(5)), [0.0, 0.0])


def test_of_a_large_tensor_a_part_is_looked_at():
    values = np.arange(100_000, dtype=np.float32)
    low, high = seen(Percentile(percent=90.0), values)
    assert low == 0.0 and abs(high - 90_000) < 50


def test_ranges_move():
    before, now = np.array([[1.0, 2.0]]), np.array([[3.0, 1.0]])
    moved = keras.ops.convert_to_numpy(MinMax().moved(before, now))
    np.testing.assert_array_equal(moved, [[3.0, 2.0]])
    np.testing.assert_allclose(Percentile(0.5).moved(before, now), [[2.0, 1.5]])


@pytest.mark.parametrize("percent", [50, 101, "a", None])
def test_a_bad_percentile_is_refused(percent):
    with pytest.raises(ValueError, match="`percent` must be"):
        Percentile(percent=percent)


@pytest.mark.parametrize("observer", ["min-max", Percentile(percent=95), LeastError()])
def test_a_model_trains_with_it(observer, pixels):
    recipe = Recipe(None, observer=observer)
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    ranges = {}
    for name, settings in (("usual", {}), ("other", {"observer": observer})):
        model = mlp()
        x = pixels[0].copy()
        x[5] = 40.0
        perceptron.fit(model, (x, pixels[1]), [Quantize(**settings)], epochs=3)
        hidden, head = compressed_layers(model)
        ranges[name] = hidden.input_quantizer.ranges.numpy()[0, 1]
        # What leaves the model is never clipped.
        assert head.output_quantizer.ranges.numpy()[0, 1] > 0
    if observer == "min-max":
        assert ranges["other"] == 40.0 > ranges["usual"]
    elif observer == LeastError():  # A row's values are few: none is worth clipping.
        assert ranges["other"] == pytest.approx(ranges["usual"], rel=1e-5)
    else:
        assert ranges["other"] < 0.6 * ranges["usual"]
