"""Cross-layer equalization: the same function, in channels of one size."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import qsparse
from benchmarks.accuracy import outputs
from qsparse.tflite_export import verify_file
from qsparse.tflite_export.graph.channel_paths import find_paths
from qsparse.tflite_export.graph.freeze import freeze
from qsparse.tflite_export.graph.graph import LayerKernel
from qsparse.tflite_export.graph.run import runnable
from qsparse.tflite_export.graph.samples import collect
from qsparse.tflite_export.passes.base import Context
from qsparse.tflite_export.passes.equalize import Equalize
from qsparse.tflite_export.passes.simplify import Simplify
from tests.tflite_export import models
from tests.tflite_export.passes_list import without

SMALL = 50.0  # by so much every other channel is smaller


@pytest.fixture(scope="module")
def x(images):
    return images[0][:24]


def convolution(filters=8, **options):
    return layers.Conv2D(filters, 3, padding="same", **options)


def plain(x):
    return layers.ReLU()(convolution(name="uneven")(x))


def without_bias(x):
    return layers.ReLU()(convolution(use_bias=False, name="uneven")(x))


def normalized(x):
    x = convolution(use_bias=False, name="uneven")(x)
    return layers.ReLU()(layers.BatchNormalization()(x))


def leaky(x):
    return layers.LeakyReLU(negative_slope=0.1)(convolution(name="uneven")(x))


def residual(x):
    x = convolution(name="uneven")(x)
    y = convolution(name="uneven_too")(layers.ReLU()(convolution()(x)))
    return layers.ReLU()(layers.Add()([x, y]))


def pooled(x):
    x = layers.MaxPooling2D()(convolution(name="uneven")(x))
    return layers.ZeroPadding2D()(x)


def depthwise(x):
    x = layers.ReLU()(convolution(name="uneven")(x))
    return layers.DepthwiseConv2D(3, name="uneven_too")(x)


def averaged(x):
    x = layers.ReLU()(convolution(name="uneven")(x))
    return layers.GlobalAveragePooling2D(keepdims=True)(x)


def attention(x):
    rows = layers.Reshape((28, 28))(x)
    values = layers.MultiHeadAttention(2, 8, name="uneven_value")(rows, rows)
    return layers.Reshape((28, 28, 1))(values)


def flattened(x):
    x = layers.ReLU()(layers.Conv2D(8, 5, strides=4, name="uneven")(x))
    return layers.Reshape((7, 1, 1))(layers.Dense(7)(layers.Flatten()(x)))


PATHS = [
    *(plain, without_bias, normalized, leaky, residual, pooled, depthwise),
    *(averaged, attention, flattened),
]


def network(body):
    """Return a model with channels of two sizes in its body."""
    keras.utils.set_random_seed(11)
    inputs = keras.Input((28, 28, 1))
    end = layers.Conv2D(5, 1, name="end")(body(inputs))
    model = models.randomized(keras.Model(inputs, layers.Flatten()(end)))
    for layer in model.layers:
        if layer.name == "uneven_value":
            shrink(layer.value_dense, layer.output_dense)
        elif layer.name.startswith("uneven"):
            shrink(layer)
    return model


def shrink(layer, reader=None):
    """Make every other output smaller, and what reads it larger by as much."""
    values = layer.get_weights()
    if isinstance(layer, layers.DepthwiseConv2D):
        values[0] = values[0].swapaxes(2, 3)
    for value in values:
        value[..., ::2] /= SMALL
    if isinstance(layer, layers.DepthwiseConv2D):
        values[0] = values[0].swapaxes(2, 3)
    layer.set_weights(values)
    if reader is not None:
        kernel, bias = reader.get_weights()
        kernel[:, ::2] *= SMALL
        reader.set_weights([kernel, bias])


def frozen(model, data):
    samples = collect(model, data)
    graph = freeze(model, samples.specs, samples.structure)
    Simplify().apply(graph, Context())
    return graph, samples.batches


def sizes(graph, path, batches):
    """Return the size of each channel in the tensor where it is largest, of 1."""
    function = runnable(graph, lambda get: [get(tensor) for tensor in path.ranged])
    found = [[np.abs(t.numpy()) for t in function(*batch)] for batch in batches]
    largest = [
        np.max([t.reshape(-1, path.channels).max(axis=0) for t in tensors], axis=0)
        for tensors in zip(*found, strict=True)
    ]
    return np.max([size / size.max() for size in largest], axis=0)


@pytest.mark.parametrize("body", PATHS, ids=lambda f: f.__name__)
def test_channels_become_equal_and_nothing_else_changes(body, x):
    graph, batches = frozen(network(body), x)
    before = [runnable(graph)(*batch)["output"].numpy() for batch in batches]
    count = len(graph.nodes)
    uneven = {}
    for path in find_paths(graph, set(), set()):
        size = sizes(graph, path, batches)
        if size[size > 0].min() < 2 / SMALL:
            uneven[path.ranged[0]] = path, size
    assert uneven
    Equalize().apply(graph, Context(batches=batches))
    after = [runnable(graph)(*batch)["output"].numpy() for batch in batches]
    for wanted, found in zip(before, after, strict=True):
        np.testing.assert_allclose(found, wanted, atol=2e-5 * np.abs(wanted).max())
    for path, size in uneven.values():
        even = sizes(graph, path, batches)
        np.testing.assert_allclose(even[size > 0], 1.0, atol=1e-3)
    assert len(graph.nodes) == count


def squashed(x):
    return layers.Activation("sigmoid")(convolution(name="uneven")(x))


def joined(x):
    y = convolution(name="uneven")(x)
    return layers.Concatenate()([y, x])


def gated(x):
    y = convolution(name="uneven")(x)
    return layers.Multiply()([y, layers.ReLU()(y)])


def summed_over_channels(x):
    y = convolution(name="uneven")(x)
    return layers.Lambda(lambda t: ops.sum(t, axis=-1, keepdims=True))(y)


def broadcast(x):
    return layers.Add()([convolution(name="uneven")(x), x])


def grouped(x):
    return convolution(groups=4)(convolution(name="uneven")(x))


def multiplied_with_itself(x):
    y = layers.Reshape((784, 8))(convolution(name="uneven")(x))
    y = layers.Lambda(lambda t: ops.einsum("btc,bsc->btsc", t[:, :28], t[:, :28]))(y)
    return y


def scalar(x):
    y = layers.GlobalAveragePooling2D()(convolution(1, name="uneven")(x))
    return layers.Lambda(lambda t: ops.reshape(ops.reshape(t, ()), (1, 1, 1, 1)))(y)


@pytest.mark.parametrize(
    "body",
    [
        *(squashed, joined, gated, summed_over_channels, broadcast, grouped),
        *(multiplied_with_itself, scalar),
    ],
    ids=lambda f: f.__name__,
)
def test_ops_that_mix_channels_end_the_search(body, x):
    graph, _ = frozen(network(body), x)
    for path in find_paths(graph, set(), set()):
        assert all("uneven" not in node.name for node in path.producers)


def test_what_others_see_is_left_alone(x):
    inputs = keras.Input((28, 28, 1))
    seen = layers.ReLU()(convolution(name="uneven")(inputs))
    model = keras.Model(inputs, [seen, convolution()(seen)])
    graph, _ = frozen(model, x)
    assert find_paths(graph, set(), set()) == []
    graph, _ = frozen(network(plain), x)
    (path,) = find_paths(graph, set(), set())
    assert find_paths(graph, set(), set(path.ranged)) == []
    assert find_paths(graph, set(path.ranged), set()) == []


def error_of(model, data, path):
    """Return the error of a file, relative to what the model computes."""
    qsparse.export(model, path, data, inference_type="float32", min_sqnr=-200)
    wanted = model.predict(data, verbose=0)
    return float(np.abs(outputs(path, data) - wanted).mean() / wanted.std())


def six(x):
    """Return channels that end at 6, and small ones, which the next layer needs."""
    x = layers.ReLU(6.0)(layers.Rescaling(8.0)(convolution(name="uneven")(x)))
    return layers.DepthwiseConv2D(3, name="reader")(x)


@pytest.mark.parametrize("body", [plain, depthwise, attention, six])
def test_int8_keeps_small_channels(body, x, tmp_path):
    model = network(body)
    readers = [layer for layer in model.layers if layer.name in ("end", "reader")]
    kernel, bias = readers[0].get_weights()
    if body is not attention:
        kernel[:, :, ::2] *= SMALL
    readers[0].set_weights([kernel, bias])
    error = error_of(model, x, tmp_path / "m.tflite")
    with without("equalize"):
        plainly = error_of(model, x, tmp_path / "m.tflite")
    assert error < 0.05
    assert plainly > 2 * error


def test_relu6_still_ends_at_6(x):
    graph, batches = frozen(network(six), x)
    before = runnable(graph)
    # Far beyond what calibration saw: channels that reached 6 must end there.
    far = [[batch[0] * 1.5] for batch in batches]
    wanted = [before(*batch)["output"].numpy() for batch in far]
    clipped = [path for path in find_paths(graph, set(), set()) if path.clipped]
    reached = runnable(graph, lambda get: get(clipped[0].ranged[0]))(*far[0])
    assert reached.numpy().max() == 6.0
    Equalize().apply(graph, Context(batches=batches))
    function = runnable(graph)
    for batch, output in zip(far, wanted, strict=True):
        found = function(*batch)["output"].numpy()
        np.testing.assert_allclose(found, output, atol=2e-5 * np.abs(output).max())


def barely_leaking(x):
    y = layers.Conv2D(8, 3, padding="same", name="negative")(x)
    y = layers.LeakyReLU(negative_slope=0.01)(y)
    return layers.Conv2D(8, 3, name="reader")(y)


def two_activations(x):
    y = layers.Conv2D(8, 3, padding="same", name="negative")(x)
    y = layers.Add()([layers.ReLU()(y), layers.LeakyReLU(negative_slope=0.01)(y)])
    return layers.Conv2D(8, 3, name="reader")(y)


def transposed(x):
    y = layers.Conv2DTranspose(8, 3, strides=2, name="negative")(x)
    return layers.Conv2D(8, 3, strides=2, name="reader")(layers.ReLU()(y))


@pytest.mark.parametrize(
    "body", [barely_leaking, two_activations, transposed], ids=lambda f: f.__name__
)
def test_a_tensor_with_a_range_of_its_own_keeps_it(body, x, tmp_path):
    """Small behind the activation, a channel may be large in front of it."""
    model = network(body)
    layer = model.get_layer("negative")
    kernel, bias = layer.get_weights()
    bias[::2] -= 3 * np.abs(kernel).sum() / 8
    layer.set_weights([kernel, bias])
    error = error_of(model, x, tmp_path / "m.tflite")
    with without("equalize"):
        plainly = error_of(model, x, tmp_path / "m.tflite")
    assert error < 1.5 * plainly


@pytest.mark.parametrize("ratio", [1e3, 1e36])
def test_any_ratio_of_channels_loads_and_verifies(ratio, x, tmp_path):
    model, path = network(residual), tmp_path / "m.tflite"
    for name in ("uneven", "uneven_too"):
        layer = model.get_layer(name)
        kernel, bias = layer.get_weights()
        kernel[..., 0] /= ratio
        bias[0] /= ratio
        layer.set_weights([kernel, bias])
    model.get_layer("uneven_too").set_weights(
        [value * 1e3 for value in model.get_layer("uneven_too").get_weights()]
    )
    qsparse.export(model, path, x)
    assert verify_file(model, path, x).failures == []


def test_a_channel_that_hardly_lives_does_not_stop_xnnpack(x, tmp_path):
    """Brought to full size, its layer would move 256 steps by one."""
    model = network(plain)
    layer = model.get_layer("uneven")
    kernel, bias = layer.get_weights()
    kernel[..., 0], bias[0] = 30.0 * np.sign(kernel[..., 0]), 0
    kernel[..., 0] -= kernel[..., 0].mean() + 0.01
    bias[0] = -np.maximum(x, 0).max() * 80
    layer.set_weights([kernel, bias])
    report = qsparse.export(model, tmp_path / "m.tflite", x)
    assert report.parity.max_lsb <= 1


def test_trained_integers_may_be_divided_but_not_multiplied(x):
    model = network(normalized)
    graph, batches = frozen(model, x)
    (path,) = find_paths(graph, set(), set())
    (head,) = (graph.nodes[node.input[0]] for node in path.producers)
    ((reader, _),) = path.consumers
    for node, taken in ((head, False), (reader, True)):
        weights = graph.value(node.input[1])
        scale = np.abs(weights).max(axis=(0, 1, 2)) / 127
        integers = np.rint(weights / scale).astype(np.int8)
        name = graph.add_constant(
            f"{node.name}/grid", (integers * scale).astype(np.float32)
        )
        graph.nodes[node.name].input[1] = name
        graph.kernels = {name: LayerKernel("conv", integers, None)}
        assert (find_paths(graph, set(), set()) == []) == taken
