"""Scales that LiteRT or its converter refuse, or mix up, against the Keras model."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import qsparse
from qsparse.callbacks import PruneThenQuantize
from qsparse.tflite_export import verify_file
from qsparse.tflite_export.files.model_file import ModelFile
from qsparse.tflite_export.passes.safe_scales import widen
from tests.conftest import compiled
from tests.tflite_export import models
from tests.tflite_export.against_keras import against_keras
from tests.tflite_export.graph.test_ranges import Trained, quantized


@pytest.fixture(scope="module")
def x(images):
    return images[0][:32]


def convolution(filters=4, size=3, **options):
    return layers.Conv2D(filters, size, **options)


def network(body):
    """Return `body` on images, its weights those of `seed`, in front of a layer."""
    keras.utils.set_random_seed(3)
    inputs = keras.Input((28, 28, 1))
    end = layers.Flatten()(convolution(strides=3)(body(inputs)))
    return models.randomized(keras.Model(inputs, end))


def op_names(path):
    return [op.name for op in ModelFile(path).ops]


@pytest.mark.parametrize("width", [1e-42, 1e-30, 1e-8, 1e-5])
def test_a_range_that_shrank_to_nothing_is_widened(width, x, tmp_path):
    def dying(inputs):
        dead = Trained(0.0, width)(layers.ReLU()(convolution()(inputs) - 99.0))
        return layers.Add()([convolution()(inputs), convolution(size=1)(dead)])

    model = network(dying)
    path = tmp_path / "m.tflite"
    report = qsparse.export(model, path, x)
    assert report.int8_share == 1.0 and report.ranges["trained"] == 1
    (far,) = against_keras(model, path, x)
    assert far.sqnr.min() > 25
    assert not verify_file(model, path, x[:4]).failures


DYING = {
    "sum": lambda i: layers.Add()([convolution()(i), convolution()(i)]),
    "join": lambda i: layers.Concatenate()([convolution()(i), convolution()(i)]),
    "product": lambda i: layers.Multiply()([convolution()(i), convolution()(i)]),
    "maximum": lambda i: layers.Maximum()([convolution()(i), convolution()(i)]),
    "depthwise": lambda i: layers.DepthwiseConv2D(3)(convolution()(i)),
}


@pytest.mark.parametrize("op", DYING)
def test_no_op_gets_a_scale_that_xnnpack_refuses(op, x):
    model = network(lambda i: Trained(0.0, 1e-30)(DYING[op](i)))
    graph, ranges = quantized(model, x)
    (tensor,) = (t for t, entry in ranges.items() if entry.source == "trained")
    assert ranges[tensor].high > 1e-8
    assert not widen(graph, ranges)  # they are wide enough now


def test_ordinary_ranges_are_not_widened(x):
    model = network(lambda i: Trained(-0.01, 0.02)(convolution()(i)))
    _, ranges = quantized(model, x)
    (entry,) = (entry for entry in ranges.values() if entry.source == "trained")
    assert (entry.low, entry.high) == pytest.approx((-0.01, 0.02))


@pytest.mark.parametrize("weight, bias", [(1e-9, 1e4), (1e-2, 1e4)])
def test_a_bias_that_int32_cannot_hold_costs_no_layer(weight, bias, images, tmp_path):
    x, y = images[0][:128], images[1][:128]
    keras.utils.set_random_seed(3)
    body = [convolution(8, strides=3, activation="relu"), convolution(8, name="large")]
    model = keras.Sequential(
        [keras.Input((28, 28, 1)), *body, layers.Flatten(), layers.Dense(12)]
    )
    compiled(model).fit(x, y, verbose=0, callbacks=[PruneThenQuantize()])
    layer = model.get_layer("large")
    kernel, biases = layer._kernel.numpy(), layer.bias.numpy()
    kernel[..., 0] *= weight / np.abs(kernel[..., 0]).max()
    biases[0] = bias
    layer._kernel.assign(kernel)
    layer.bias.assign(biases)
    path = tmp_path / "m.tflite"
    report = qsparse.export(model, path, x[:32])
    assert all(match.tensor is not None for match in report.layers)
    (far,) = against_keras(model, path, x[:32])
    assert far.lsb.max() < 1.5 and far.sqnr.min() > 30
    assert not verify_file(model, path, x[:4]).failures


@pytest.mark.parametrize("axis", [1, 2, (1, 2), 3])
def test_a_reversal_next_to_layers_stays_in_int8(axis, x, tmp_path):
    flip = layers.Lambda(lambda t: ops.flip(t, axis))
    model = network(lambda i: flip(convolution(activation="relu")(i)))
    path = tmp_path / "m.tflite"
    assert qsparse.export(model, path, x).int8_share == 1.0
    assert op_names(path)[:3] == ["CONV_2D", "STRIDED_SLICE", "CONV_2D"]
    (far,) = against_keras(model, path, x)
    assert far.lsb.max() < 3
    assert not verify_file(model, path, x[:4]).failures


def test_a_reversal_of_channels_does_not_keep_them(images, tmp_path):
    """Smoothing must not take channel c behind it for channel c before it."""
    rows = images[0][:24, :, :, 0]
    keras.utils.set_random_seed(3)
    inputs = keras.Input((28, 28))
    y = layers.LayerNormalization()(layers.Dense(16)(inputs))
    y = layers.Lambda(lambda t: t[..., ::-1])(y)
    model = models.randomized(keras.Model(inputs, layers.Dense(8)(y)))
    norm = model.layers[2]
    norm.gamma.assign(np.where(np.arange(16) == 2, 30.0, 1.0))
    qsparse.export(model, tmp_path / "m.tflite", rows)
    (far,) = against_keras(model, tmp_path / "m.tflite", rows)
    assert far.lsb.max() < 8


def selected(inputs):
    bright = layers.Lambda(lambda t: ops.where(t[0][:, 1:-1, 1:-1] > 0.5, t[1], t[2]))
    return bright([inputs, convolution()(inputs), 5 * convolution()(inputs)])


PICKING = {
    "maximum": lambda i: layers.Maximum()([convolution()(i), convolution()(i)]),
    "minimum": lambda i: layers.Minimum()([3 * convolution()(i), convolution()(i)]),
    "where": selected,
}


@pytest.mark.parametrize("name", PICKING)
def test_what_is_picked_from_two_tensors_is_on_one_scale(name, x, tmp_path):
    model, path = network(PICKING[name]), tmp_path / "m.tflite"
    report = qsparse.export(model, path, x)
    assert report.int8_share == 1.0 and report.parity.max_lsb < 1.5
    (op,) = (op for op in ModelFile(path).ops if op.name[:3] in ("MAX", "MIN", "SEL"))
    operands = [t for t in op.inputs if t.dtype == np.int8 and t.data is None]
    assert len({float(t.scales[0]) for t in (*operands, op.outputs[0])}) == 1
    (far,) = against_keras(model, path, x)
    assert far.lsb.max() < 3


def test_the_lower_of_a_fixed_and_a_trained_range(x, tmp_path):
    """A tanh lies in [-1, 1] whatever it meets; the other side is never below zero."""

    def lower(inputs):
        a = convolution(activation="relu")(inputs)
        return layers.Minimum()([a, layers.Dense(4, activation="tanh")(a)])

    model, path = network(lower), tmp_path / "m.tflite"
    qsparse.export(model, path, x)
    (far,) = against_keras(model, path, x)
    assert far.lsb.max() < 4 and far.wanted.min() < 0


def test_a_bilinear_resize_keeps_one_scale(x, tmp_path):
    def resized(inputs):
        return layers.UpSampling2D(2, interpolation="bilinear")(
            convolution(strides=2)(inputs)
        )

    model, path = network(lambda i: Trained(-0.5, 0.5)(resized(i))), tmp_path / "m"
    path = path.with_suffix(".tflite")
    report = qsparse.export(model, path, x)
    assert report.parity.max_lsb < 1.5
    (op,) = (op for op in ModelFile(path).ops if op.name == "RESIZE_BILINEAR")
    assert op.inputs[0].scales == op.outputs[0].scales
    assert op.outputs[0].dtype == np.int8
    keras.utils.set_random_seed(3)
    inputs = keras.Input((28, 28, 1))
    model = models.randomized(keras.Model(inputs, resized(inputs)))
    qsparse.export(model, path, x)
    (far,) = against_keras(model, path, x)
    assert far.lsb.max() < 2
    assert not verify_file(model, path, x[:4]).failures
