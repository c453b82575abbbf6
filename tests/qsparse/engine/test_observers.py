"""Ranges: a step is one call of the model; dead tensors leave them alone."""

import keras
import numpy as np
import pytest
from keras import layers

import qsparse
from qsparse.callbacks import Quantize
from qsparse.engine.compressor import compressed_layers, state_of
from qsparse.engine.observers import FLOOR
from qsparse.tflite_export.files.model_file import ModelFile

MOMENTUM = 0.5


def learning(model, **settings):
    """Attach int8 training to `model`, switched on."""
    recipe = qsparse.Recipe(
        pattern=None, observer=qsparse.MovingAverage(MOMENTUM), **settings
    )
    qsparse.attach(model, recipe)
    state_of(model).quantizing.assign(True)
    return model


def ranges_of(model):
    return {
        c.path_in_model: c.input_quantizer.ranges.numpy()[0].tolist()
        for c in compressed_layers(model)
    }


def siamese():
    """A layer that sees its input, and its input times -10."""
    shared = layers.Dense(4, name="shared")
    inputs = keras.Input((2,))
    second = shared(layers.Rescaling(-10.0)(inputs))
    return learning(keras.Model(inputs, [shared(inputs), second]))


def test_a_shared_layer_sees_the_union_of_its_calls():
    model = siamese()
    model(np.array([[0.5, 1.0]], np.float32), training=True)
    assert ranges_of(model) == {"shared": [-10.0, 1.0]}
    # One step moves a range once, however often the layer is called.
    model(np.array([[0.0, 3.0]], np.float32), training=True)
    assert ranges_of(model) == {"shared": [-20.0, 2.0]}


def test_the_union_is_learned_in_a_traced_step_too():
    model = siamese()
    x = np.array([[0.5, 1.0], [0.0, 3.0]], np.float32)
    model.compile("sgd", "mse")
    targets = [np.zeros((2, 4), np.float32)] * 2
    model.fit(x, targets, batch_size=1, shuffle=False, verbose=0)
    assert ranges_of(model) == {"shared": [-20.0, 2.0]}
    state_of(model).quantizing.assign(True)
    model.predict(x * 100, verbose=0)
    assert ranges_of(model) == {"shared": [-20.0, 2.0]}


def test_a_tensor_that_stops_keeps_its_range():
    """A moving average with zeros would be at 3 * 2^-40 by then."""
    model = learning(keras.Sequential([keras.Input((2,)), layers.Dense(4, name="a")]))
    model(np.array([[-1.0, 3.0]], np.float32), training=True)
    for _ in range(40):
        outputs = model(np.zeros((1, 2), np.float32), training=True)
    assert ranges_of(model) == {"a": [-1.0, 3.0]}
    assert np.isfinite(outputs).all()


@pytest.mark.parametrize("broken", [np.inf, -np.inf, np.nan])
def test_a_step_that_overflows_leaves_ranges_alone(broken):
    model = learning(keras.Sequential([keras.Input((2,)), layers.Dense(4, name="a")]))
    model(np.array([[-1.0, 3.0]], np.float32), training=True)
    model(np.array([[broken, 3.0]], np.float32), training=True)
    assert ranges_of(model) == {"a": [-1.0, 3.0]}


def test_what_is_smaller_than_the_floor_stays_in_float():
    x = np.array([[0.3, 0.7]], np.float32) * FLOOR
    model = keras.Sequential([keras.Input((2,)), layers.Dense(4, name="a")])
    expected = model(x).numpy()
    learning(model)
    # The kernel is rounded to 8 bits; an input that was would be zero or two steps.
    np.testing.assert_allclose(model(x, training=True), expected, rtol=0.1, atol=1e-9)
    assert ranges_of(model) == {"a": [0.0, 0.0]}


def test_logits_are_rounded_and_never_clipped():
    model = learning(keras.Sequential([keras.Input((2,)), layers.Dense(1, name="a")]))
    output = compressed_layers(model)[0].output_quantizer
    for value in (1.0, 8.0):
        assert output(np.array([[value]], np.float32), training=True) == value
        assert output.ranges.numpy()[0].tolist() == [0.0, value]
    output(np.array([[4.0]], np.float32), training=True)
    assert output.ranges.numpy()[0].tolist() == [0.0, 6.0]
    scale = 6 / 255
    rounded = output(np.array([[0.1]], np.float32)).numpy()
    assert rounded == pytest.approx(round(0.1 / scale) * scale, rel=1e-6)


def outputs_with_ranges(model):
    learning(model)
    found = compressed_layers(model)
    return [c.path_in_model for c in found if c.output_quantizer is not None]


def test_outputs_are_found_through_reshapes_and_nested_models():
    inputs = keras.Input((4,))
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(4, name="logits")])
    body = layers.Dense(4, name="body", activation="relu")(inputs)
    scores = layers.Dense(4, name="scores", activation="softmax")(body)
    boxes = layers.Reshape((2, 2))(layers.Dense(4, name="boxes")(body))
    model = keras.Model(inputs, {"a": inner(body), "b": scores, "c": boxes})
    name = f"{inner.name}/logits"
    # A softmax has its range from LiteRT; `body` is inside.
    assert sorted(outputs_with_ranges(model)) == sorted(["boxes", name])


def test_a_subclassed_models_outputs_are_unknown():
    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(4)

        def call(self, x):
            return self.dense(x)

    model = Model()
    model(np.zeros((1, 4), np.float32))
    assert outputs_with_ranges(model) == []


def test_the_files_output_has_the_trained_range(cnn, images, tmp_path):
    x, y = images[0][:256], images[1][:256]
    cnn.fit(x, y, batch_size=32, verbose=0, callbacks=[Quantize()])
    low, high = compressed_layers(cnn)[-1].output_quantizer.ranges.numpy()[0]
    report = qsparse.export(cnn, tmp_path / "m.tflite", x[:32])
    assert report.ranges["calibrated"] == 0
    (output,) = ModelFile((tmp_path / "m.tflite").read_bytes()).outputs
    assert output.scales[0] == pytest.approx((high - low) / 255, rel=1e-5)


def test_ranges_of_older_files_load(cnn, images):
    """They hold `ranges`, and neither outputs nor the step that was running."""
    cnn.fit(images[0][:64], images[1][:64], verbose=0, callbacks=[Quantize()])
    first, *_ = compressed_layers(cnn)
    expected = first.input_quantizer.ranges.numpy()
    stored = {"ranges": expected}
    first.input_quantizer.ranges.assign(np.zeros_like(expected))
    first.input_quantizer.load_own_variables(stored)
    np.testing.assert_array_equal(first.input_quantizer.ranges, expected)
