"""Both ends of a network with float inputs and outputs, against the Keras model."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import qsparse
from qsparse.callbacks import PruneThenQuantize
from qsparse.tflite_export import verify_file
from qsparse.tflite_export.files.model_file import ModelFile
from tests.tflite_export import models
from tests.tflite_export.against_keras import against_keras
from tests.tflite_export.graph.test_ranges import Trained

MEANS, DEVIATIONS = [50000.0, 40.0, 0.5, 2.0], [20000.0, 10.0, 0.1, 1.0]


@pytest.fixture(scope="module")
def x(images):
    return images[0][:32]


def detector(join, outputs=1):
    """Return boxes in pixels and scores in [0, 1], joined by `join`."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((28, 28, 1))
    y = layers.Conv2D(8, 3, strides=4, activation="relu")(inputs)
    boxes = layers.Reshape((-1, 4))(layers.Conv2D(8, 3, padding="same")(y))
    scores = layers.Reshape((-1, 3))(layers.Conv2D(6, 3, padding="same")(y))
    found = join([640 * ops.sigmoid(boxes), ops.sigmoid(scores)])
    return models.randomized(keras.Model(inputs, found))


def joined(parts):
    return layers.Concatenate()(parts)


def joined_and_moved(parts):
    return layers.Reshape((2, -1))(layers.Permute((2, 1))(joined(parts)))


def nested(parts):
    boxes, scores = parts
    return joined([joined([boxes, scores]), boxes, scores])


def with_trained_range(parts):
    return Trained(0.0, 640.0)(joined(parts))


@pytest.mark.parametrize("join", [joined, joined_and_moved, nested, with_trained_range])
def test_what_is_concatenated_last_keeps_its_own_scales_in_float(join, x, tmp_path):
    model, path = detector(join), tmp_path / "m.tflite"
    qsparse.export(model, path, x, inference_type="float32")
    (far,) = against_keras(
        detector(joined) if join is with_trained_range else model, path, x
    )
    small = far.wanted < 1.0  # the scores
    assert small.mean() > 0.25
    # Half a step of the sigmoid's own scale, and what its logits lost.
    assert np.abs(far.got - far.wanted)[small].max() < 3 / 256
    assert np.abs(far.got - far.wanted).max() < 3 * 640 / 255
    assert not verify_file(model, path, x[:8]).failures


def test_only_the_concatenation_is_float(x, tmp_path):
    path = tmp_path / "m.tflite"
    report = qsparse.export(detector(joined), path, x, inference_type="float32")
    ops_ = ModelFile(path).ops
    assert report.int8_share == 1.0
    assert [op.name for op in ops_ if op.outputs[0].dtype == np.float32] == [
        *("DEQUANTIZE", "SUM", "DEQUANTIZE", "SUM", "CONCATENATION")
    ]


def test_a_concatenation_that_layers_read_stays_in_int8(x, tmp_path):
    keras.utils.set_random_seed(1)
    inputs = keras.Input((28, 28, 1))
    y = layers.Conv2D(8, 3, activation="relu")(inputs)
    y = layers.Concatenate()([y, layers.MaxPooling2D(3, 1, padding="same")(y)])
    model = keras.Model(inputs, [y, layers.Conv2D(4, 3)(y)])
    report = qsparse.export(model, tmp_path / "m.tflite", x, inference_type="float32")
    (join,) = [op for op in ModelFile(report.path).ops if op.name == "CONCATENATION"]
    assert join.outputs[0].dtype == np.int8


@pytest.fixture(scope="module")
def features():
    """Return 1,024 samples of four features of different sizes, and their class."""
    rng = np.random.default_rng(0)
    unit = rng.normal(size=(1024, 4)).clip(-3, 3)
    values = unit * DEVIATIONS + MEANS
    return values.astype(np.float32), (unit[:, 0] + unit[:, 1] > unit[:, 2]).astype(int)


def normalization(values):
    layer = layers.Normalization()
    layer.adapt(values)
    return layer


def batch_normalization(values):
    layer = layers.BatchNormalization()
    layer.build((None, 4))
    layer.moving_mean.assign(values.mean(axis=0))
    layer.moving_variance.assign(values.var(axis=0))
    return layer


def rescaling(values):
    scale = 1 / values.std(axis=0)
    return layers.Rescaling(scale.tolist(), (-values.mean(axis=0) * scale).tolist())


def arithmetics(values):
    mean, deviation = values.mean(axis=0), values.std(axis=0)
    return layers.Lambda(lambda x: (x - mean) / deviation)


def classifier(first):
    keras.utils.set_random_seed(2)
    body = [layers.Dense(16, activation="relu"), layers.Dense(4)]
    return keras.Sequential([keras.Input((4,)), first, *body])


FIRST = [normalization, batch_normalization, rescaling, arithmetics]


@pytest.mark.parametrize("first", FIRST)
def test_features_of_different_sizes_are_normalized_in_float(first, features, tmp_path):
    values, _ = features
    model, path = classifier(first(values)), tmp_path / "m.tflite"
    qsparse.export(model, path, values[:120], inference_type="float32")
    (far,) = against_keras(model, path, values[:120])
    assert far.sqnr.min() > 25 and far.lsb.max() < 6
    assert not verify_file(model, path, values[:8]).failures


def test_a_trained_classifier_of_such_features_agrees_with_its_model(
    features, tmp_path
):
    values, labels = features
    model, path = classifier(normalization(values)), tmp_path / "m.tflite"
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss)
    model.fit(values, labels, epochs=8, verbose=0, callbacks=[PruneThenQuantize()])
    qsparse.export(model, path, values, inference_type="float32")
    (far,) = against_keras(model, path, values[:300])
    assert (far.wanted.argmax(1) == labels[:300]).mean() > 0.85
    assert (far.got.argmax(1) == far.wanted.argmax(1)).mean() >= 0.99


def test_int8_inputs_that_lose_features_are_warned_of(features, tmp_path):
    values, _ = features
    model, path = classifier(normalization(values)), tmp_path / "m.tflite"
    with pytest.warns(UserWarning, match=r"features \[1, 2, 3\] of 4"):
        qsparse.export(model, path, values, min_sqnr=-200)
    (failure,) = verify_file(model, path, values[:8]).failures
    assert "dB from what the Keras model predicts" in failure


def test_images_in_int8_are_normalized_per_channel_in_int8(x, tmp_path):
    rgb = np.concatenate([x, 0.5 * x, 1 - x], axis=-1)
    keras.utils.set_random_seed(2)
    first = layers.Normalization(mean=[0.3, 0.15, 0.7], variance=[0.1, 0.03, 0.1])
    body = [layers.Conv2D(8, 3, strides=3), layers.Flatten(), layers.Dense(4)]
    model = keras.Sequential([keras.Input((28, 28, 3)), first, *body])
    report = qsparse.export(model, tmp_path / "m.tflite", rgb)
    assert all(op.outputs[0].dtype == np.int8 for op in ModelFile(report.path).ops)
    (far,) = against_keras(model, tmp_path / "m.tflite", rgb)
    assert far.sqnr.min() > 25
