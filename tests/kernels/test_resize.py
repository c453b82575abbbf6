"""Shapes that change after layers were taken: what LiteRT runs, the delegate runs.

The runtime does not take nodes back, so that every shape it can run must run here.
"""

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, load_delegate

from benchmarks.sparse_weights import sparse_weights

from . import runner
from .graph_fuzz.writer import INT32, Writer


class File(Writer):
    """Layers whose scales keep the values of inputs of scale 0.05 in range."""

    def input(self, shape):
        return self.tensor(shape, 0.05, 3)

    def conv(self, x, outputs, kernel=3, stride=1, seed=0):
        batch, height, width, channels = self.shape(x)
        density = 0.5 if kernel > 1 else 1.0
        shape = (outputs, kernel, kernel, channels)
        weights = sparse_weights(shape, "4x4", density, seed)
        energy = np.sqrt((weights.astype(float) ** 2).sum() / outputs)
        scales = np.full(outputs, 1 / energy, np.float32)
        bias = np.arange(outputs, dtype=np.int32) * 300
        size = (-(-height // stride), -(-width // stride))
        return self.operator(
            "CONV_2D",
            [
                x,
                self.tensor(weights.shape, scales, data=weights),
                self.tensor(bias.shape, scales * 0.05, kind=INT32, data=bias),
            ],
            self.tensor((batch, *size, outputs), 0.05, 3),
            "Conv2DOptions",
            strideH=stride,
            strideW=stride,
            dilationHFactor=1,
            dilationWFactor=1,
        )

    def add(self, x, y):
        return self.operator(
            "ADD", [x, y], self.tensor(self.shape(x), 0.07, -5), "AddOptions"
        )

    def pad(self, x):
        batch, height, width, channels = self.shape(x)
        border = self.constant([[0, 0], [1, 2], [0, 1], [0, 0]])
        output = self.tensor((batch, height + 3, width + 1, channels), 0.05, 3)
        return self.operator("PAD", [x, border], output, "PadOptions")

    def pool(self, x):
        batch, height, width, channels = self.shape(x)
        output = self.tensor(
            (batch, -(-height // 2), -(-width // 2), channels), 0.05, 3
        )
        return self.operator(
            "MAX_POOL_2D",
            [x],
            output,
            "Pool2DOptions",
            filterHeight=3,
            filterWidth=2,
            strideH=2,
            strideW=2,
        )


def both(content, threads=1, **options):
    """Plain LiteRT and the delegate."""
    delegate = load_delegate(runner.LIBRARY, {"min_gain": "0", **options})
    return [
        Interpreter(model_content=content),
        Interpreter(
            model_content=content,
            experimental_delegates=[delegate],
            num_threads=threads,
        ),
    ]


def results(interpreter, arrays):
    details = interpreter.get_input_details()
    for detail, array in zip(details, arrays, strict=True):
        interpreter.resize_tensor_input(detail["index"], array.shape)
    interpreter.allocate_tensors()
    return again(interpreter, arrays)


def again(interpreter, arrays):
    details = interpreter.get_input_details()
    for detail, array in zip(details, arrays, strict=True):
        interpreter.set_tensor(detail["index"], array)
    interpreter.invoke()
    return [
        interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()
    ]


def sample(*shape):
    rng = np.random.default_rng(len(shape))
    return rng.integers(-128, 128, shape, dtype=np.int8)


def plan(content, **options):
    class Model:
        pass

    Model.content = content
    return runner.plan_of(Model, min_gain="0", **options)


def claims(content):
    return [d["claimed"] for d in plan(content)]


@pytest.fixture(scope="module")
def two_branches():
    """Borders and windows on one side, so that every kind of node is in the chain."""
    file = File()
    a, b = file.input((1, 9, 11, 8)), file.input((1, 6, 6, 16))
    x = file.pool(file.pad(file.conv(a, 16)))
    y = file.conv(b, 16, seed=1)
    total = file.add(x, y)
    content = file.content([a, b], [total, file.conv(total, 8, seed=2)])
    assert all(claims(content))
    return content


@pytest.mark.parametrize("batches", [(4, 1), (1, 4), (4, 4), (1, 1)])
def test_one_side_of_a_sum_may_get_another_batch(two_branches, batches):
    arrays = sample(batches[0], 9, 11, 8), sample(batches[1], 6, 6, 16)
    plain, ours = both(two_branches)
    expected, actual = results(plain, arrays), results(ours, arrays)
    for e, a in zip(expected, actual, strict=True):
        assert e.shape[0] == max(batches)
        assert np.unique(e).size > 50
        np.testing.assert_array_equal(a, e)


def test_there_is_a_way_to_and_from_shapes_no_kernel_is_made_for(two_branches):
    plain, ours = both(two_branches)
    for batches in ((1, 1), (3, 1), (3, 3), (1, 3), (1, 1)):
        arrays = sample(batches[0], 9, 11, 8), sample(batches[1], 6, 6, 16)
        for e, a in zip(results(plain, arrays), results(ours, arrays), strict=True):
            np.testing.assert_array_equal(a, e)


def test_batches_that_do_not_go_together_fail_with_both(two_branches):
    for interpreter in both(two_branches):
        with pytest.raises((RuntimeError, ValueError)):
            results(interpreter, [sample(4, 9, 11, 8), sample(3, 6, 6, 16)])


def test_one_side_of_a_product_may_get_another_batch():
    file = File()
    x, y = file.input((2, 1, 9, 16)), file.input((2, 1, 7, 16))
    product = file.operator(
        "BATCH_MATMUL",
        [x, y],
        file.tensor((2, 1, 9, 7), 0.5, 3),
        "BatchMatMulOptions",
        adjY=True,
    )
    content = file.content([x, y], [product])
    assert claims(content) == [True]
    plain, ours = both(content)
    for left, right in (((2, 1), (1, 3)), ((1, 1), (2, 1)), ((2, 3), (2, 1))):
        arrays = sample(*left, 9, 16), sample(*right, 7, 16)
        (expected,), (actual,) = results(plain, arrays), results(ours, arrays)
        assert np.unique(expected).size > 50
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("layers", [1, 2])
def test_a_batch_beyond_the_position_tables_runs_in_parts(layers):
    file = File()
    x = file.input((1, 16, 16, 4))
    y = x
    for seed in range(layers):
        y = file.conv(y, 4, kernel=1, seed=seed)
    content = file.content([x], [y])
    assert all(claims(content))
    plain, ours = both(content)
    array = np.resize(sample(1000, 16, 16, 4), (70000, 16, 16, 4))
    (expected,), (actual,) = results(plain, [array]), results(ours, [array])
    assert np.unique(expected).size > 50
    np.testing.assert_array_equal(actual, expected)


def test_an_image_beyond_the_position_tables_runs_in_plain_loops():
    file = File()
    x = file.input((1, 8, 8, 4))
    content = file.content([x], [file.conv(x, 4, kernel=1)])
    plain, ours = both(content)
    array = np.resize(sample(64, 4100, 4), (1, 4100, 4100, 4))
    (expected,), (actual,) = results(plain, [array]), results(ours, [array])
    assert np.unique(expected).size > 50
    np.testing.assert_array_equal(actual, expected)
