"""The integers in a file are the integers of training, to the last one."""

import json
from contextlib import nullcontext

import keras
import numpy as np
import pytest
from keras import layers

import qsparse
from benchmarks.accuracy import outputs
from qsparse.engine.compressor import compressed_layers
from qsparse.planning.plan import LayerPlan
from qsparse.tflite_export.files.model_file import ModelFile
from qsparse.tflite_export.graph.convert import convert
from qsparse.tflite_export.graph.freeze import freeze
from qsparse.tflite_export.graph.graph import LayerKernel
from qsparse.tflite_export.graph.samples import collect
from qsparse.tflite_export.parity.outputs import compare
from qsparse.tflite_export.parity.trained import TrainedLayer, restore
from tests.tflite_export import models
from tests.tflite_export.passes_list import quantize, without


def grid(rng, shape, largest):
    """Integers whose greatest magnitude per output (first axis) is `largest`."""
    values = rng.integers(-largest, largest + 1, size=shape)
    values.reshape(shape[0], -1)[:, 0] = largest
    return values.astype(np.int8)


def convolution(rng, largest, gamma):
    """Return a Conv-BN model on a grid of its own, and its integers and scales."""
    integers = grid(rng, (8, 3, 3, 4), largest)
    integers[:, :, :, 2] = 0
    scale = rng.uniform(0.001, 0.004, size=8)
    inputs = keras.Input((28, 28, 1))
    x = layers.Conv2D(4, 3, activation="relu", name="stem")(inputs)
    x = layers.Conv2D(8, 3, use_bias=False, name="conv")(x)
    x = layers.BatchNormalization(name="bn")(x)
    model = models.randomized(keras.Model(inputs, layers.ReLU()(x)))
    kernel = integers * scale[:, None, None, None]
    model.get_layer("conv").set_weights([kernel.transpose(1, 2, 3, 0)])
    model.get_layer("bn").gamma.assign(gamma)
    return model, integers, scale


def converted(model, data, trained):
    """Return a file, the graph it is of and what `compare` needs.

    Args:
        model: its kernels are multiples of integers.
        data: representative data.
        trained: layer -> its integers and mask, in the order of a file.
    """
    samples = collect(model, data)
    graph = freeze(model, samples.specs, samples.structure)
    for path, (integers, mask) in trained.items():
        kernel = model.get_layer(path).get_weights()[0]
        (name,) = (n for n in graph.nodes if np.array_equal(graph.constant(n), kernel))
        parts = [
            None if part is None else np.moveaxis(part, 0, -1)
            for part in (integers, mask)
        ]
        graph.kernels[name] = LayerKernel(path, *parts)
    ranges = quantize(graph, samples.batches)
    return ModelFile(convert(graph)), graph, ranges, samples.batches


def described(trained):
    """Return `trained` as a report wants it."""
    return [
        TrainedLayer(LayerPlan(path, "Conv2D", pattern="made up"), integers.size, 0.0)
        for path, (integers, _) in trained.items()
    ]


@pytest.fixture(scope="module")
def data(images):
    return images[0][:16]


@pytest.mark.parametrize("largest", [127, 90, 31])
def test_grid_and_sign_survive_a_folded_batch_normalization(largest, data):
    rng = np.random.default_rng(largest)
    gamma = np.array([1.0, -0.5, 2.0, -3.0, 0.1, 0.7, -0.2, 1.5])
    model, integers, _ = convolution(rng, largest, gamma)
    trained = {"conv": (integers, integers != 0)}
    file, graph, ranges, batches = converted(model, data, trained)
    (match,) = restore(file, graph, described(trained))
    assert match.flipped == 3
    assert match.regridded == (0 if largest == 127 else 8)
    again = ModelFile(file.to_bytes())
    stored = next(op.weights for op in again.ops if op.weights.name == match.tensor)
    sign = np.sign(gamma).astype(np.int8)[:, None, None, None]
    np.testing.assert_array_equal(stored.data, integers * sign)
    parity = compare(file.to_bytes(), graph, ranges, batches)
    assert parity.max_lsb < 1.5
    assert parity.mean_lsb < 0.01


def test_regridded_scale_and_bias_mean_what_they_meant(data):
    rng = np.random.default_rng(0)
    gamma = rng.uniform(0.5, 1.5, size=8)
    model, integers, scale = convolution(rng, 64, gamma)
    trained = {"conv": (integers, None)}
    file, graph, *_ = converted(model, data, trained)
    op = next(op for op in file.ops if op.weights.shape == (8, 3, 3, 4))
    before = op.inputs[2].data * op.inputs[2].scales.astype(float)
    restore(file, graph, described(trained))
    bn = model.get_layer("bn")
    folded = gamma / np.sqrt(bn.moving_variance.numpy() + bn.epsilon)
    np.testing.assert_allclose(op.weights.scales, scale * folded, rtol=1e-5)
    after = op.inputs[2].data * op.inputs[2].scales.astype(float)
    np.testing.assert_allclose(after, before, atol=op.inputs[2].scales.max())
    product = op.inputs[0].scales[0] * op.weights.scales
    np.testing.assert_allclose(op.inputs[2].scales, product, rtol=1e-6)


def test_a_vanished_gamma_is_a_channel_of_zeros(data):
    rng = np.random.default_rng(0)
    gamma = np.array([1.0, 0.0, 1, 1, 1, 1, 1, 1])
    model, integers, _ = convolution(rng, 127, gamma)
    trained = {"conv": (integers, np.ones(integers.shape, bool))}
    file, graph, *_ = converted(model, data, trained)
    (match,) = restore(file, graph, described(trained))
    assert (match.state, match.flipped, match.vanished) == ("found", 0, 1)


def test_biases_are_rounded_as_in_the_file(data):
    """Nine products of small weights: a step of the bias is a part of an output's."""
    keras.utils.set_random_seed(2)
    inputs = keras.Input((28, 28, 1))
    x = layers.Conv2D(16, 1, activation="relu")(inputs)
    model = models.randomized(keras.Model(inputs, layers.DepthwiseConv2D(3)(x)))
    differing = {}
    for baked in (True, False):
        with nullcontext() if baked else without("bake_biases"):
            file, graph, ranges, batches = converted(model, data, {})
        differing[baked] = compare(file.to_bytes(), graph, ranges, batches).mean_lsb
    assert differing[True] < 1e-4
    assert differing[False] > 20 * differing[True]


def test_a_bias_behind_zeros_is_what_it_was(data, tmp_path):
    """Where all weights of an output are zero, there is no step to round it to."""
    keras.utils.set_random_seed(2)
    inputs = keras.Input((28, 28, 1))
    layer = layers.Dense(6)
    model = keras.Model(inputs, layer(layers.Flatten()(inputs)))
    kernel, bias = layer.get_weights()
    kernel[:, 2], bias[2] = 0, 0.4
    layer.set_weights([kernel, bias])
    report = qsparse.export(
        model, tmp_path / "m.tflite", data, inference_type="float32"
    )
    assert report.parity.max_lsb < 1
    found = outputs(tmp_path / "m.tflite", data)
    assert np.abs(found[:, 2] - 0.4).max() < 0.02


def test_other_weights_do_not_match(data):
    rng = np.random.default_rng(0)
    model, integers, _ = convolution(rng, 127, np.ones(8))
    trained = {"conv": (integers, None)}
    _, graph, *_ = converted(model, data, trained)
    model.get_layer("conv").set_weights(
        [np.roll(w, 1, axis=-1) for w in model.get_layer("conv").get_weights()]
    )
    other, *_ = converted(model, data, {})
    (match,) = restore(other, graph, described(trained))
    assert match.tensor is None and match.state == "lost"
    assert match.to_dict()["sparsity"] is None


def test_a_lost_zero_is_an_error(data):
    rng = np.random.default_rng(0)
    model, integers, _ = convolution(rng, 127, np.ones(8))
    mask = integers != 0
    mask[0, 0, 0, 0] = False
    trained = {"conv": (integers, mask)}
    file, graph, *_ = converted(model, data, trained)
    with pytest.raises(RuntimeError, match="layer 'conv': 1 pruned weights"):
        restore(file, graph, described(trained))


def test_layers_with_equal_weights_are_all_restored(data):
    """The converter stores equal constants once; each needs its own scale."""
    rng = np.random.default_rng(0)
    integers = grid(rng, (8, 28), 60)
    inputs = keras.Input((28, 28, 1))
    rows = layers.Reshape((28, 28))(inputs)
    first, second = layers.Dense(8, name="first"), layers.Dense(8, name="second")
    model = keras.Model(inputs, [first(rows), second(layers.ReLU()(1 - rows))])
    for layer, scale in ((first, 0.01), (second, 0.002)):
        layer.set_weights([integers.T * scale, rng.normal(size=8)])
    trained = {"first": (integers, None), "second": (integers, None)}
    file, graph, ranges, batches = converted(model, data, trained)
    restore(file, graph, described(trained))
    for op in file.ops:
        if op.weights is not None:
            np.testing.assert_array_equal(op.weights.data, integers)
    assert compare(file.to_bytes(), graph, ranges, batches).max_lsb < 1.5


@pytest.mark.parametrize("order", ["S->Q", "Q->S"])
@pytest.mark.parametrize(
    "pattern",
    [qsparse.Block((4, 4)), qsparse.NM(1, 4), qsparse.Unstructured()],
    ids=str,
)
def test_a_trained_model_exports_its_own_integers(
    order, pattern, cnn, images, tmp_path
):
    from qsparse.callbacks import PruneThenQuantize

    x, y = images[0][:512], images[1][:512]
    sparsity = None if isinstance(pattern, qsparse.NM) else 0.75
    callback = PruneThenQuantize(pattern, sparsity, order=order)
    cnn.fit(x, y, epochs=2, batch_size=64, verbose=0, callbacks=[callback])
    report = qsparse.export(cnn, tmp_path / "m.tflite", x[:32], strict=True)
    assert report.int8_share == 1.0
    assert report.ranges["trained"] >= 7
    assert report.parity.max_lsb < 2.5
    file = ModelFile(tmp_path / "m.tflite")
    tensors = {tensor.name: tensor for tensor in file.tensors}
    layers_of = {layer.path_in_model: layer for layer in compressed_layers(cnn)}
    for match in report.layers:
        values, _ = layers_of[match.path].integer_weights()
        stored = tensors[match.tensor].data.reshape(values.shape)
        np.testing.assert_array_equal(stored == 0, values == 0)
        np.testing.assert_array_equal(np.abs(stored), np.abs(values))
    entries = file.metadata()["layers"]
    plans = [entry.pop("plan") for entry in entries]
    assert entries == [m.to_dict() for m in report.layers]
    wanted = [layer.plan.to_dict() for layer in compressed_layers(cnn)]
    assert plans == json.loads(json.dumps(wanted))
