"""What keeps transformers accurate in int8: against the float model, pass by pass."""

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from keras import layers

import qsparse
from qsparse.tflite_export.files.model_file import ModelFile
from qsparse.tflite_export.graph.freeze import freeze
from qsparse.tflite_export.graph.run import measure
from qsparse.tflite_export.graph.samples import collect
from qsparse.tflite_export.passes.base import Pass
from qsparse.tflite_export.passes.neuron_groups import groups
from tests.tflite_export.passes_list import quantize, replaced, without
from tests.tflite_export.transformers import (
    file_error,
    gelu,
    masked_by,
    stream,
    transformer,
)


@pytest.mark.parametrize(
    "order, approximate", [("pre", False), ("post", True)], ids=["pre", "post"]
)
def test_a_loud_channel_and_neuron_cost_no_accuracy(order, approximate, rows, tmp_path):
    model = transformer(order, approximate, scale=100.0, neuron=50.0)
    path = tmp_path / "m.tflite"
    error, _ = file_error(model, rows, path)
    with without("scale_residuals", "smooth", "group_neurons", "float_sums"):
        plain, _ = file_error(model, rows, path)
    assert error < 0.12
    assert plain > 3 * error


@pytest.mark.parametrize("name", ["scale_residuals", "group_neurons"])
def test_each_pass_is_needed(name, rows, tmp_path):
    loud = {"scale_residuals": {"scale": 100.0}, "group_neurons": {"neuron": 50.0}}
    model = transformer(**loud[name])
    error, _ = file_error(model, rows, tmp_path / "m.tflite")
    with without(name):
        plain, _ = file_error(model, rows, tmp_path / "m.tflite")
    assert error < 0.12
    assert plain > 1.5 * error


@pytest.mark.parametrize("final", ["norm", "layer", "pool"])
@pytest.mark.parametrize("use_bias", [True, False])
def test_streams_keep_small_channels(final, use_bias, rows, tmp_path):
    model, path = stream(final, use_bias), tmp_path / "m.tflite"
    error, _ = file_error(model, rows, path)
    with without("scale_residuals", "smooth", "float_sums"):
        plain, _ = file_error(model, rows, path)
    assert error < 0.08
    assert plain > 3 * error


@pytest.mark.parametrize(
    "sizes, counts",
    [
        ([1.0] * 64, []),
        ([1.0] * 62 + [9.0, 25.0], [62, 2]),
        ([2.0] * 512 + [6.0] * 64, [512, 64]),
        ([2.0] * 512 + [6.0] * 63 + [25.0], [512, 63, 1]),
        (list(np.linspace(1.0, 1.3, 256)), []),
        ([0.0] * 48, []),
        ([3.0], []),
    ],
)
def test_neurons_of_like_size_make_a_group(sizes, counts):
    shuffled = np.random.default_rng(0).permutation(sizes)
    group = groups(shuffled)
    assert [int((group == n).sum()) for n in range(int(group.max(initial=-1)) + 1)] == (
        counts
    )
    for n in range(1, len(counts)):
        assert shuffled[group == n].min() >= shuffled[group == n - 1].max()


def test_groups_multiply_no_more_than_the_whole_layer(rows, tmp_path):
    model, path = transformer(neuron=50.0), tmp_path / "m.tflite"
    _, report = file_error(model, rows, path)
    with without("group_neurons"):
        _, whole = file_error(model, rows, path)
    # A product with one neuron is a MUL, which has none.
    assert 0.99 * whole.macs < report.macs <= whole.macs and whole.int8_share == 1.0
    assert 0.99 < report.int8_share < 1.0  # the loud one is in float
    assert 1 <= len(report.float_ops) <= 2


class MinMax(Pass):
    """Ranges as wide as what the samples bring, whatever reads them."""

    name = "find_ranges"
    tolerance = 5.0

    def apply(self, graph, context):
        tensors = list(context.ranges)
        runs = measure(graph, lambda get: [get(t) for t in tensors], context.batches)
        for values in runs:
            for tensor, array in zip(tensors, values, strict=True):
                entry = context.ranges[tensor]
                if entry.source == "calibrated":
                    entry.low = np.fmin(entry.low, min(array.min(), 0))
                    entry.high = np.fmax(entry.high, max(array.max(), 0))
        context.ranges = {
            tensor: entry if entry.source == "fixed" else entry.nudged()
            for tensor, entry in context.ranges.items()
        }


@pytest.mark.parametrize(
    "how", ["attention_mask", "softmax", "additive", "two", "two_large"]
)
def test_masks_leave_scores_their_range(how, rows, tmp_path):
    lengths = np.random.default_rng(0).integers(6, 28, len(rows))
    mask = (np.arange(28) < lengths[:, None]).astype(np.float32)
    model, path = masked_by(how), tmp_path / "m.tflite"
    error, _ = file_error(model, [rows, mask], path)
    assert error < 0.05
    if how == "softmax":  # selected on one scale
        assert not any(
            op.name == "QUANTIZE" and op.inputs[0].dtype == np.int8
            for op in ModelFile(path).ops
        )
    if how == "two":
        return  # without the passes LiteRT aborts: it cannot add on such scales
    try:
        with without("factor_masks", "limit_masks"), replaced("find_ranges", MinMax()):
            plain, _ = file_error(model, [rows, mask], path)
    except RuntimeError:  # so far off that nothing is written
        plain = np.inf
    assert plain > 2 * error


def test_a_select_hides_what_it_hides(rows, tmp_path):
    """Neither infinities nor large numbers reach the range of what is left."""
    keras.utils.set_random_seed(5)
    a, b = keras.Input((28, 28), name="a"), keras.Input((28, 28), name="b")
    ratio = keras.ops.where(b > 0.5, a / b, 0.0)
    model = keras.Model([a, b], layers.Dense(10)(ratio))
    error, _ = file_error(model, [rows, np.round(rows)], tmp_path / "m.tflite")
    assert error < 0.05


def test_scores_that_two_selects_read_keep_their_range(rows, tmp_path):
    keras.utils.set_random_seed(5)
    a, b = keras.Input((28, 28), name="a"), keras.Input((28, 28), name="b")
    scores = layers.Dense(28)(a) * 8.0
    likely = layers.Softmax()(keras.ops.where(b > 0.5, scores, -1e9))
    model = keras.Model([a, b], [likely, keras.ops.where(b > 0.5, scores, 0.0)])
    mask = (rows > np.median(rows)).astype(np.float32)
    path = tmp_path / "m.tflite"
    qsparse.export(model, path, [rows, mask], inference_type="float32")
    wanted = model.predict([rows, mask], verbose=0)
    run = Interpreter(str(path))
    run.allocate_tensors()
    signature = run.get_signature_runner()
    found = [signature(a=x[None], b=m[None]) for x, m in zip(rows, mask, strict=True)]
    for name, expected in zip(sorted(found[0]), wanted, strict=True):
        got = np.concatenate([output[name] for output in found])
        assert np.abs(got - expected).max() < 0.06 * np.ptp(expected)


def test_ranges_end_early_only_where_softmax_alone_reads(rows):
    inputs = keras.Input((28, 28))
    x = layers.Dense(
        8, kernel_initializer=keras.initializers.RandomNormal(stddev=5, seed=1)
    )(inputs)
    outputs = [x, layers.Softmax()(x), gelu(False)(x), x * keras.ops.tanh(x)]
    model = keras.Model(inputs, outputs)
    samples = collect(model, rows)
    graph = freeze(model, samples.specs, samples.structure)
    ranges = quantize(graph, samples.batches)
    least = model.predict(rows, verbose=0)[0].min()
    assert least < -12
    assert min(r.low for r in ranges.values()) <= 0.99 * least


def test_right_sides_of_products_have_a_zero_point_of_zero(rows, tmp_path):
    _, report = file_error(transformer(), rows, tmp_path / "m.tflite")
    products = [op for op in ModelFile(report.path).ops if op.name == "BATCH_MATMUL"]
    assert len(products) == 2
    assert [int(op.inputs[1].zero_points[0]) for op in products] == [0, 0]
