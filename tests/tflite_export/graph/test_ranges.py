"""Ranges that training left in a graph, and those calibration adds."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import qsparse
from qsparse.callbacks import PruneThenQuantize
from qsparse.tflite_export import verify_file
from qsparse.tflite_export.files.model_file import ModelFile
from qsparse.tflite_export.graph.freeze import freeze
from qsparse.tflite_export.graph.graph import FAKE_QUANT
from qsparse.tflite_export.graph.ranges import Range
from qsparse.tflite_export.graph.samples import collect
from tests.conftest import compiled
from tests.tflite_export import models
from tests.tflite_export.against_keras import against_keras
from tests.tflite_export.passes_list import quantize


class Trained(layers.Layer):
    """A fake-quant node with a fixed range, as an attached layer leaves one."""

    def __init__(self, low, high):
        super().__init__()
        self.range = low, high

    def build(self, shape):
        self.limits = self.add_weight(shape=(2,), trainable=False)
        self.limits.assign(self.range)

    def call(self, inputs):
        low, high = self.limits[0], self.limits[1]
        return tf.quantization.fake_quant_with_min_max_vars(inputs, low, high)


@pytest.fixture(scope="module")
def data(images):
    return images[0][:32]


def quantized(model, data):
    samples = collect(model, data)
    graph = freeze(model, samples.specs, samples.structure)
    return graph, quantize(graph, samples.batches)


def by_source(ranges, source):
    return {name: r for name, r in ranges.items() if r.source == source}


def test_trained_ranges_are_used_verbatim_and_hoisted_over_reshapes(data, tmp_path):
    inputs = keras.Input((28, 28, 1))
    x = Trained(0.0, 1.25)(inputs)
    x = layers.Conv2D(8, 3, activation="relu")(x)
    x = layers.Flatten()(layers.MaxPooling2D()(x))
    x = layers.Dense(4)(Trained(0.0, 2.5)(x))
    model = models.randomized(keras.Model(inputs, x))
    report = qsparse.export(model, tmp_path / "m.tflite", data)
    assert report.ranges == {"trained": 2, "calibrated": 1, "fixed": 0}
    file = ModelFile(tmp_path / "m.tflite")
    convolution = file.ops[0]
    assert convolution.inputs[0].scales == np.float32(1.25 / 255)
    assert convolution.outputs[0].scales == pytest.approx(2.5 / 255, rel=1e-6)
    assert [op.name for op in file.ops] == [
        *("CONV_2D", "MAX_POOL_2D", "RESHAPE", "FULLY_CONNECTED")
    ]
    assert report.parity.max_lsb < 1.5


def test_equal_ranges_on_one_tensor_become_one_node(data):
    inputs = keras.Input((28, 28, 1))
    x = layers.Conv2D(4, 3, padding="same", activation="relu")(inputs)
    left = layers.Conv2D(4, 3, padding="same")(Trained(0.0, 3.0)(x))
    right = layers.Add()([Trained(0.0, 3.0)(x), left])
    graph, ranges = quantized(keras.Model(inputs, right), data)
    assert len(by_source(ranges, "trained")) == 1
    nodes = [node for node in graph.nodes.values() if node.op == FAKE_QUANT]
    assert len(nodes) == len(ranges)


def test_nothing_is_folded_across_a_trained_range(data):
    inputs = keras.Input((28, 28, 1))
    x = Trained(-2.0, 2.0)(layers.Conv2D(4, 3)(inputs))
    model = models.randomized(
        keras.Model(inputs, layers.ReLU()(layers.BatchNormalization()(x)))
    )
    _, ranges = quantized(model, data)
    (name,) = by_source(ranges, "trained")
    assert (ranges[name].low, ranges[name].high) == (-2.0, 2.0)


# The ranges are made up.
@pytest.mark.filterwarnings("ignore:.*Scale the data as in training:UserWarning")
@pytest.mark.parametrize("padding", ["valid", "same"])
def test_an_average_rounds_once_to_its_trained_range(padding, data, tmp_path):
    inputs = keras.Input((28, 28, 1))
    x = layers.Conv2D(4, 3, padding=padding, activation="relu")(inputs)
    x = layers.AveragePooling2D(2, padding=padding)(Trained(0.0, 4.0)(x))
    x = layers.Conv2D(4, 3)(Trained(0.0, 1.0)(x))
    model = models.randomized(keras.Model(inputs, x))
    report = qsparse.export(model, tmp_path / "m.tflite", data)
    assert report.ranges["trained"] == 2
    ops = ModelFile(tmp_path / "m.tflite").ops
    assert [op.name for op in ops] == ["CONV_2D", "DEPTHWISE_CONV_2D", "CONV_2D"]
    assert ops[1].outputs[0].scales == pytest.approx(1 / 255, rel=1e-6)
    assert report.parity.max_lsb < 1.5


def test_an_average_next_to_padding_keeps_the_scale_of_its_input(data, tmp_path):
    inputs = keras.Input((28, 28, 1))
    x = layers.Conv2D(4, 3, activation="relu")(inputs)
    x = layers.AveragePooling2D(3, padding="same")(x)
    model = models.randomized(keras.Model(inputs, layers.Conv2D(4, 3)(x)))
    report = qsparse.export(model, tmp_path / "m.tflite", data)
    ops = ModelFile(tmp_path / "m.tflite").ops
    assert [op.name for op in ops] == ["CONV_2D", "AVERAGE_POOL_2D", "CONV_2D"]
    assert ops[1].inputs[0].scales == ops[1].outputs[0].scales
    assert report.parity.max_lsb < 2.5


def test_softmax_and_sigmoid_take_the_scale_of_their_kernels(data, tmp_path):
    inputs = keras.Input((28, 28, 1))
    x = layers.Flatten()(inputs)
    outputs = [layers.Dense(4, activation=a)(x) for a in ("softmax", "sigmoid", "tanh")]
    model = models.randomized(keras.Model(inputs, outputs))
    report = qsparse.export(model, tmp_path / "m.tflite", data)
    assert report.ranges["fixed"] == 3
    outputs = ModelFile(tmp_path / "m.tflite").outputs
    scales = [float(tensor.scales[0]) for tensor in outputs]
    assert scales == [1 / 256, 1 / 256, 1 / 128]


def test_calibrated_ranges_are_the_extremes_of_the_data(data):
    inputs = keras.Input((28, 28, 1))
    model = keras.Model(inputs, layers.Flatten()(inputs))
    _, ranges = quantized(model, data)
    (entry,) = ranges.values()
    assert entry.source == "calibrated"
    assert entry.high == pytest.approx(data.max(), rel=1e-6)
    assert entry.low == 0.0


@pytest.mark.parametrize(
    "low, high", [(0.5, 3.0), (-3.0, -0.5), (-0.7, 1.9), (0.0, 0.0), (-1e-9, 1e-9)]
)
def test_nudged_ranges_hold_zero_exactly(low, high):
    nudged = Range("calibrated", low, high).nudged()
    scale = (nudged.high - nudged.low) / 255
    zero = -nudged.low / scale
    assert nudged.low <= 0 <= nudged.high and nudged.low < nudged.high
    assert zero == pytest.approx(round(zero), abs=1e-6)


def test_dead_activations_do_not_stop_an_export(data, tmp_path):
    inputs = keras.Input((28, 28, 1))
    dead = layers.Conv2D(
        4, 3, activation="relu", bias_initializer=keras.initializers.Constant(-99)
    )(inputs)
    model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(dead)))
    report = qsparse.export(model, tmp_path / "m.tflite", data)
    assert report.int8_share == 1.0


NEUTRAL = {
    "rescaling": layers.Rescaling(1.0),
    "normalization": layers.Normalization(mean=0.0, variance=1.0),
    "product": layers.Lambda(lambda x: x * 1),
    "sum": layers.Lambda(lambda x: x + 0),
    "quotient": layers.Lambda(lambda x: x / 1),
    "two": layers.Lambda(lambda x: (x * 1 + 0) / 1),
}


@pytest.mark.parametrize("name", NEUTRAL)
def test_the_range_behind_an_op_that_does_nothing_is_kept(name, data):
    inputs = keras.Input((28, 28, 1))
    x = Trained(-1.0, 1.55)(NEUTRAL[name](inputs))
    x = layers.Conv2D(4, 3, activation="relu")(x)
    _, ranges = quantized(models.randomized(keras.Model(inputs, x)), data)
    (entry,) = by_source(ranges, "trained").values()
    assert (entry.low, entry.high) == pytest.approx((-1.0, 1.55))


def test_ranges_in_front_of_and_behind_an_op_that_does_nothing_are_joined(data):
    inputs = keras.Input((28, 28, 1))
    x = layers.Conv2D(4, 3, padding="same")(inputs)
    y = Trained(-3.0, 1.0)(layers.Rescaling(1.0)(Trained(-2.0, 2.0)(x)))
    model = keras.Model(inputs, layers.Conv2D(4, 3)(y))
    _, ranges = quantized(models.randomized(model), data)
    (entry,) = by_source(ranges, "trained").values()
    assert (entry.low, entry.high) == (-3.0, 2.0)


def test_a_range_behind_a_dense_layer_with_a_bias_of_zero_is_kept(data):
    inputs = keras.Input((28, 28, 1))
    x = Trained(-2.0, 2.0)(layers.Dense(8)(layers.Flatten()(inputs)))
    graph, ranges = quantized(keras.Model(inputs, layers.Dense(4)(x)), data)
    (tensor,) = by_source(ranges, "trained")
    assert graph.nodes[tensor].op == "MatMul"


def test_a_network_that_begins_with_a_rescaling_is_trained_and_exported(
    images, tmp_path
):
    x, y = images[0][:256] * 255, images[1][:256]
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Rescaling(1 / 255.0),
            layers.Conv2D(8, 3, strides=2, activation="relu"),
            layers.Flatten(),
            layers.Dense(12),
        ]
    )
    compiled(model).fit(x, y, epochs=2, verbose=0, callbacks=[PruneThenQuantize()])
    report = qsparse.export(model, tmp_path / "m.tflite", x[:32])
    assert report.ranges["trained"] == 3  # of both layers' inputs, and of the logits
    (far,) = against_keras(model, tmp_path / "m.tflite", x[:32])
    assert far.lsb.max() < 1.5 and far.sqnr.min() > 25
    assert not verify_file(model, tmp_path / "m.tflite", x[:8]).failures


def test_one_hot_and_the_layer_behind_it_stay_in_float(tmp_path):
    """The converter takes no scale at the output of a one-hot code."""
    keras.utils.set_random_seed(0)
    ids = keras.Input((6,), dtype="int32", name="ids")
    hot = keras.ops.one_hot(ids, 16)
    x = keras.layers.Dense(8, activation="relu")(hot)
    model = keras.Model(ids, keras.layers.Dense(4)(keras.layers.Flatten()(x)))
    data = np.random.default_rng(0).integers(0, 16, (64, 6)).astype(np.int32)
    report = qsparse.export(model, tmp_path / "m.tflite", data)
    (op,) = report.float_ops
    assert op.startswith("FULLY_CONNECTED")
    assert report.int8_share == pytest.approx(192 / (192 + 768))
    assert report.fidelity[0].sqnr > 30
