import keras
import numpy as np
import pytest

from benchmarks.accuracy import outputs, share_right
from qsparse.recipes import evaluate
from qsparse.tflite_export.export import export
from qsparse.tflite_export.runtime.everywhere import run_ours
from qsparse.tflite_export.runtime.interpreter import plain_interpreter


@pytest.fixture(scope="module")
def two_inputs():
    """A model whose output depends on which input is which."""
    left, right = (keras.Input((4,), name=name) for name in ("left", "right"))
    half = keras.layers.Rescaling(0.5)(right)
    return keras.Model({"left": left, "right": right}, keras.ops.subtract(left, half))


@pytest.fixture(scope="module")
def pairs():
    rng = np.random.default_rng(0)
    return {k: rng.uniform(-1, 1, (6, 4)).astype("float32") for k in ("right", "left")}


def test_a_file_gives_what_its_model_gives(two_inputs, pairs, tmp_path):
    path = tmp_path / "two.tflite"
    export(two_inputs, path, pairs)
    expected = pairs["left"] - pairs["right"] / 2
    np.testing.assert_allclose(outputs(two_inputs, pairs), expected, atol=1e-6)
    # Three roundings of at most half a step of a range of 3 in 255.
    np.testing.assert_allclose(outputs(path, pairs), expected, atol=0.02)
    np.testing.assert_array_equal(outputs(path, pairs, run_ours), outputs(path, pairs))


def test_one_input_needs_no_name(cnn, test_images, tmp_path):
    images, labels = (array[:40] for array in test_images)
    path = tmp_path / "cnn.tflite"
    export(cnn, path, images)
    file = evaluate.predict(plain_interpreter(path), images)
    expected = (file.raw.astype(np.float32) - file.zero_point) * file.scale
    np.testing.assert_allclose(outputs(path, images), expected, rtol=1e-6)
    assert share_right(path, images, labels) == file.accuracy(labels)


def test_what_a_file_cannot_take_is_named(two_inputs, pairs, tmp_path):
    path = tmp_path / "two.tflite"
    export(two_inputs, path, pairs)
    with pytest.raises(ValueError, match=r"takes \['left', 'right'\].*\['left'\]"):
        outputs(path, {"left": pairs["left"]})
    export(two_inputs, path, pairs, batch_size=2)
    with pytest.raises(ValueError, match=r"in batches of \[2\]"):
        outputs(path, pairs)
