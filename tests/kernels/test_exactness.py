"""The delegate gives XNNPACK's result to the last bit, on every ISA."""

import concurrent.futures

import numpy as np
import pytest

from benchmarks import one_op_models
from benchmarks.sparse_weights import sparse_weights

from . import runner

PATTERNS = [
    ("dense", 1.0),
    ("4x4", 0.3),
    ("1:4 4x4", 0.25),
    ("2:4", 0.5),
    ("unstructured", 0.2),
]
# The ISA that has a kernel for few positions; elsewhere it is replaced by the best.
FEW_ISAS = ("avx512vnni",)


@pytest.mark.parametrize(("pattern", "density"), PATTERNS)
@pytest.mark.parametrize("m", [1, 16, 37, 128])
def test_fully_connected_patterns(m, pattern, density):
    weights = sparse_weights((64, 96), pattern, density)
    runner.assert_exact(one_op_models.fully_connected_model(weights, m))


@pytest.mark.parametrize(
    ("m", "k", "n"),
    [
        (5, 37, 30),
        (17, 6, 3),
        (33, 130, 66),
        (100, 64, 257),
        (7, 1024, 40),
        (96, 3, 64),
        (31, 65, 1),
        (128, 768, 768),
        (197, 384, 100),
        (9, 3200, 12),
    ],
)
def test_fully_connected_shapes(m, k, n):
    weights = sparse_weights((n, k), "4x4", 0.5, seed=m)
    runner.assert_exact(one_op_models.fully_connected_model(weights, m))


@pytest.mark.parametrize(("pattern", "density"), PATTERNS)
@pytest.mark.parametrize("m", range(1, 16))
def test_few_positions(m, pattern, density):
    weights = sparse_weights((80, 144), pattern, density, seed=m)
    runner.assert_exact(one_op_models.fully_connected_model(weights, m), FEW_ISAS)


@pytest.mark.parametrize("m", range(1, 16))
@pytest.mark.parametrize(
    ("k", "n"), [(37, 30), (6, 3), (130, 66), (65, 1), (3, 257), (1027, 71)]
)
def test_few_positions_shapes(m, k, n):
    weights = sparse_weights((n, k), "4x4", 0.5, seed=m + 4)
    # A handful of outputs takes a handful of values.
    least = 9 if m * n > 60 else 1
    model = one_op_models.fully_connected_model(weights, m)
    runner.assert_exact(model, FEW_ISAS, least=least)


@pytest.mark.parametrize(
    ("zero_points", "activation"),
    [
        ((-128, -128), None),
        ((127, 127), None),
        ((0, 0), "relu"),
        ((-128, -128), "relu6"),
        ((-128, 60), "relu"),
        ((127, 100), "relu_n1_to_1"),
    ],
)
@pytest.mark.parametrize("m", [1, 4, 6, 11])
def test_few_positions_clamp(m, zero_points, activation):
    weights = sparse_weights((96, 64), "4x4", 0.4)
    model = one_op_models.fully_connected_model(
        weights,
        m,
        input_zero_point=zero_points[0],
        output_zero_point=zero_points[1],
        activation=activation,
    )
    runner.assert_exact(model, FEW_ISAS)


def test_few_positions_of_a_pointwise_convolution():
    weights = sparse_weights((40, 1, 1, 36), "4x4", 0.4)
    for height, stride in ((3, 1), (5, 2)):
        model = one_op_models.conv2d_model(weights, height, 3, stride=stride)
        runner.assert_exact(model, FEW_ISAS)


@pytest.mark.parametrize("activation", ["relu", "relu6", "relu_n1_to_1"])
def test_activations(activation):
    weights = sparse_weights((64, 64), "4x4", 0.4)
    runner.assert_exact(
        one_op_models.fully_connected_model(weights, 40, activation=activation)
    )
    kernels = sparse_weights((32, 3, 3, 16), "4x4", 0.4)
    runner.assert_exact(
        one_op_models.conv2d_model(kernels, 9, 8, activation=activation)
    )


@pytest.mark.parametrize("zero_points", [(-128, -128), (127, 127), (0, 0), (-128, 60)])
def test_zero_points(zero_points):
    chosen = {"input_zero_point": zero_points[0], "output_zero_point": zero_points[1]}
    weights = sparse_weights((48, 64), "4x4", 0.4)
    runner.assert_exact(one_op_models.fully_connected_model(weights, 20, **chosen))
    kernels = sparse_weights((16, 3, 3, 20), "4x4", 0.5)
    for size in (7, 14):  # without and with column masks
        runner.assert_exact(one_op_models.conv2d_model(kernels, size, size, **chosen))


@pytest.mark.parametrize(
    "variant",
    [{"per_channel": False}, {"bias": False}, {"leading": (2, 3, 5)}]
    + [{"leading": (2, 3, 5), "keep_num_dims": True}],
    ids=str,
)
def test_fully_connected_variants(variant):
    weights = sparse_weights((24, 32), "4x4", 0.5)
    runner.assert_exact(one_op_models.fully_connected_model(weights, 18, **variant))


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(
    ("height", "width", "channels", "outputs", "kernel", "stride", "padding"),
    [
        (14, 14, 64, 64, 3, 1, "same"),
        (14, 15, 64, 64, 3, 2, "same"),
        (15, 14, 32, 20, 3, 2, "same"),
        (14, 14, 64, 64, 3, 1, "valid"),
        (15, 15, 16, 16, 3, 2, "valid"),
        (28, 28, 1, 16, 3, 1, "same"),
        (28, 28, 3, 16, 5, 2, "same"),
        (7, 7, 13, 9, 5, 1, "same"),
        (14, 14, 13, 9, 5, 1, "same"),
        (14, 14, 4, 8, 2, 1, "same"),
        (30, 2, 16, 8, 5, 1, "same"),
        (1, 1, 16, 64, 3, 1, "same"),
        (2, 30, 16, 8, 3, 1, "same"),
        (8, 9, 64, 128, 1, 1, "same"),
        (8, 9, 64, 128, 1, 2, "same"),
        (9, 10, 3, 8, 5, 3, "valid"),
        (9, 9, 4, 8, 2, 1, "same"),
        (10, 9, 4, 8, 4, 2, "same"),
        (9, 9, 4, 8, 2, 3, "same"),
    ],
)
def test_conv2d(height, width, channels, outputs, kernel, stride, padding, batch):
    shape = (outputs, kernel, kernel, channels)
    weights = sparse_weights(shape, "4x4", 0.5)
    runner.assert_exact(
        one_op_models.conv2d_model(
            weights, height, width, batch=batch, stride=stride, padding=padding
        )
    )


@pytest.mark.parametrize("dilation", [2, 3])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize(
    ("height", "width", "channels", "kernel"),
    [(14, 14, 32, 3), (15, 13, 20, 3), (16, 14, 8, 2), (17, 23, 5, 5)],
)
def test_dilated_conv2d(height, width, channels, kernel, stride, padding, dilation):
    weights = sparse_weights((24, kernel, kernel, channels), "4x4", 0.5)
    runner.assert_exact(
        one_op_models.conv2d_model(
            weights, height, width, stride=stride, padding=padding, dilation=dilation
        )
    )


@pytest.mark.parametrize("dilation", [6, 12])
def test_a_dilated_kernel_may_be_larger_than_the_image(dilation):
    weights = sparse_weights((16, 3, 3, 16), "4x4", 0.5)
    model = one_op_models.conv2d_model(weights, 9, 10, dilation=dilation)
    runner.assert_exact(model)


@pytest.mark.parametrize("size", [7, 14])
def test_resnet_convolutions(size):
    weights = sparse_weights((256, 3, 3, 128), "1:4 4x4")
    runner.assert_exact(one_op_models.conv2d_model(weights, size, size))


def test_option_dense_changes_no_output():
    weights = sparse_weights((64, 3, 3, 32), "4x4", 0.3)
    model = one_op_models.conv2d_model(weights, 10, 10)
    x = model.input()
    expected = runner.invoke(runner.interpreter(model), x)
    for isa in runner.ISAS:
        actual = runner.invoke(runner.interpreter(model, isa=isa, dense="1"), x)
        np.testing.assert_array_equal(actual, expected)


def test_groups_without_any_weight_give_the_bias():
    weights = sparse_weights((16, 32), "dense")
    weights[4:12] = 0
    runner.assert_exact(one_op_models.fully_connected_model(weights, 20))


@pytest.mark.parametrize("isa", runner.ISAS)
def test_resized_inputs(isa):
    weights = sparse_weights((40, 64), "4x4", 0.5)
    model = one_op_models.fully_connected_model(weights, 8)
    ours = runner.interpreter(model, isa=isa, min_gain="0")
    plain = runner.interpreter(model)
    rng = np.random.default_rng(0)
    for rows in (1, 33, 8, 12, 13, 3):
        x = rng.integers(-128, 128, size=(rows, 64)).astype(np.int8)
        outputs = []
        for each in (ours, plain):
            each.resize_tensor_input(each.get_input_details()[0]["index"], x.shape)
            each.allocate_tensors()
            outputs.append(runner.invoke(each, x))
        np.testing.assert_array_equal(*outputs)


def test_a_rejected_size_can_be_left_again():
    """A resize that fails leaves an interpreter that the old size brings back."""
    weights = sparse_weights((4, 4), "dense")
    model = one_op_models.fully_connected_model(weights, 8)
    ours = runner.interpreter(model, dense="1")
    ours.allocate_tensors()
    (entry,) = ours.get_input_details()
    with pytest.raises(RuntimeError, match="does not fit the weights"):
        ours.resize_tensor_input(entry["index"], [3, 3])
        ours.allocate_tensors()
    ours.resize_tensor_input(entry["index"], [8, 4])
    ours.allocate_tensors()
    plain = runner.interpreter(model)
    x = model.input(0)
    np.testing.assert_array_equal(runner.invoke(ours, x), runner.invoke(plain, x))


def test_a_layer_too_large_is_left_to_xnnpack():
    weights = sparse_weights((4, 3, 3, 1), "dense")
    model = one_op_models.conv2d_model(weights, 4100, 4100)
    (decision,) = runner.plan_of(model, dense="1")
    assert not decision["claimed"]
    assert decision["reason"] == "layer too large"


def test_interpreters_in_several_threads():
    """Four interpreters, each with a pool of two threads, do not disturb another."""
    weights = sparse_weights((128, 3, 3, 64), "4x4", 0.3)
    model = one_op_models.conv2d_model(weights, 14, 14)

    def work(seed):
        x = model.input(seed)
        expected = runner.invoke(runner.interpreter(model), x)
        ours = runner.interpreter(model, 2, min_gain="0")
        return all((runner.invoke(ours, x) == expected).all() for _ in range(50))

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(4)))


@pytest.mark.parametrize("threads", ["1", "2", "3", "7"])
def test_option_threads(threads):
    weights = sparse_weights((200, 64), "4x4", 0.3)
    model = one_op_models.fully_connected_model(weights, 60)
    x = model.input()
    expected = runner.invoke(runner.interpreter(model), x)
    ours = runner.interpreter(model, min_gain="0", threads=threads)
    for _ in range(20):
        np.testing.assert_array_equal(runner.invoke(ours, x), expected)
