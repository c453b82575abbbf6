"""Layers taken together, their tensors kept in planes, give XNNPACK's results."""

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, load_delegate

from benchmarks.sparse_weights import sparse_weights

from ..graph_models import Graph
from . import runner


def weights(*shape, seed=0, density=0.4):
    return sparse_weights(shape, "4x4", density, seed)


def perceptron():
    graph = Graph((37, 60))
    x = graph.fc(graph.input, weights(44, 60), "relu", -128)
    x = graph.fc(x, weights(132, 44, seed=1), "relu6", -128)
    return graph.finish(graph.fc(x, weights(22, 132, seed=2)))


def few_rows():
    graph = Graph((5, 64))
    x = graph.fc(graph.input, weights(128, 64), "relu", -128)
    return graph.finish(graph.fc(x, weights(64, 128, seed=1)))


def bottleneck():
    """1x1, 3x3, 1x1 and a sum with the input, then the same again."""
    graph = Graph((1, 14, 14, 48))
    x = graph.input
    for seed in range(2):
        y = graph.conv(x, weights(16, 1, 1, 48, seed=seed), activation="relu")
        y = graph.conv(y, weights(16, 3, 3, 16, seed=seed), activation="relu")
        y = graph.conv(y, weights(48, 1, 1, 16, seed=seed))
        x = graph.add(y, x, "relu", -128)
    return graph.finish(x)


def downsampling():
    """Both branches halve the image; the sum goes on into a valid 5x5."""
    graph = Graph((1, 14, 13, 24))
    y = graph.conv(graph.input, weights(32, 3, 3, 24), stride=2, activation="relu")
    y = graph.conv(y, weights(40, 3, 3, 32, seed=1))
    x = graph.conv(graph.input, weights(40, 1, 1, 24, seed=2), stride=2)
    x = graph.add(x, y)
    return graph.finish(graph.conv(x, weights(17, 5, 5, 40), padding="valid"))


def several_images():
    graph = Graph((3, 7, 9, 22))
    y = graph.conv(graph.input, weights(32, 1, 1, 22), activation="relu")
    y = graph.conv(y, weights(35, 3, 3, 32, seed=1), activation="relu6")
    y = graph.conv(y, weights(22, 1, 1, 35, seed=2))
    x = graph.add(graph.input, y, "relu", -128)
    y = graph.conv(x, weights(40, 3, 3, 22, seed=3), stride=2)
    return graph.finish(x, y)


def read_inside_and_outside():
    graph = Graph((40, 32))
    x = graph.fc(graph.input, weights(48, 32), "relu", -128)
    y = graph.fc(x, weights(48, 48, seed=1))
    z = graph.add(x, y)
    return graph.finish(x, y, z, graph.fc(z, weights(20, 48, seed=2)))


def sums_of_sums():
    graph = Graph((33, 24))
    x = graph.add(graph.input, graph.input)
    y = graph.fc(x, weights(24, 24))
    y = graph.add(graph.add(y, x), graph.add(x, graph.input))
    return graph.finish(y)


def uneven_kernels():
    """Taps that look over one side only, and kernels that are taller than wide."""
    graph = Graph((1, 11, 16, 20))
    x = graph.conv(graph.input, weights(24, 3, 1, 20), activation="relu")
    x = graph.conv(x, weights(24, 1, 3, 24, seed=1))
    x = graph.conv(x, weights(24, 2, 2, 24, seed=2))
    x = graph.conv(x, weights(20, 7, 7, 24, seed=3), stride=3)
    return graph.finish(x)


def flattened():
    """A fully connected layer that sees whole images as rows cannot read planes."""
    graph = Graph((2, 4, 4, 16))
    x = graph.conv(graph.input, weights(24, 3, 3, 16), activation="relu")
    x = graph.fc(x, weights(32, 384), keep_num_dims=False)
    return graph.finish(x)


GRAPHS = (
    perceptron,
    few_rows,
    bottleneck,
    downsampling,
    several_images,
    read_inside_and_outside,
    sums_of_sums,
    uneven_kernels,
    flattened,
)


def results(interpreter, x):
    outputs = runner.invoke(interpreter, x)
    return outputs if isinstance(outputs, list) else [outputs]


@pytest.mark.parametrize("isa", runner.ISAS)
@pytest.mark.parametrize("make", GRAPHS, ids=lambda make: make.__name__)
def test_equals_xnnpack(make, isa):
    graph = make()
    expected = results(runner.interpreter(graph), graph.sample)
    assert all(np.unique(values).size >= 40 for values in expected)
    plan = runner.plan_of(graph, isa=isa, min_gain="0")
    assert all(decision["claimed"] for decision in plan)
    for threads in (1, 2):
        chained = runner.interpreter(graph, threads, isa=isa, min_gain="0")
        for _ in range(2):  # buffers are used again
            actual = results(chained, graph.sample)
            for a, e in zip(actual, expected, strict=True):
                np.testing.assert_array_equal(a, e)
        # Other values must not find traces of the ones before.
        other = graph.sample[..., ::-1].copy()
        for a, e in zip(
            results(chained, other),
            results(runner.interpreter(graph), other),
            strict=True,
        ):
            np.testing.assert_array_equal(a, e)


def groups_of(graph, **options):
    return [d["group"] for d in runner.plan_of(graph, **options)]


def test_what_hands_on_tensors_is_one_group():
    assert groups_of(perceptron(), min_gain="0") == [0, 0, 0]
    assert groups_of(bottleneck(), min_gain="0") == [0] * 8
    first, second = groups_of(flattened(), min_gain="0")
    assert first != second


def test_the_option_chains_takes_layers_one_by_one():
    graph = bottleneck()
    plan = runner.plan_of(graph, min_gain="0", chains="0")
    layers = [d["group"] for d in plan if d["op"] != "ADD"]
    assert len(set(layers)) == len(layers) == 6
    assert all(not d["claimed"] for d in plan if d["op"] == "ADD")
    expected = runner.invoke(runner.interpreter(graph), graph.sample)
    single = runner.interpreter(graph, min_gain="0", chains="0")
    np.testing.assert_array_equal(runner.invoke(single, graph.sample), expected)


def test_a_sum_xnnpack_does_not_take_is_left_alone():
    """It would round otherwise: the ratio of the scales is out of its range."""
    graph = Graph((16, 32))
    x = graph.fc(graph.input, weights(32, 32))
    graph.rescale(x, 3000)
    graph.finish(graph.add(x, graph.input))
    (layer, addition) = runner.plan_of(graph, min_gain="0")
    assert layer["claimed"]
    assert not addition["claimed"]
    assert addition["reason"] == "scales too far apart"


def test_the_number_of_images_may_change():
    graph = several_images()
    plain = Interpreter(model_content=graph.content)
    delegate = load_delegate(runner.LIBRARY, {"min_gain": "0"})
    chained = Interpreter(
        model_content=graph.content, experimental_delegates=[delegate]
    )
    for images in (1, 4, 3):
        x = np.resize(graph.sample, (images, *graph.sample.shape[1:]))
        for interpreter in (plain, chained):
            interpreter.resize_tensor_input(graph.input, x.shape)
            interpreter.allocate_tensors()
        for a, e in zip(results(chained, x), results(plain, x), strict=True):
            np.testing.assert_array_equal(a, e)
