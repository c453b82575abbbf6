"""Kernels that read activations position by position, each forced by name."""

import numpy as np
import pytest

from benchmarks import one_op_models
from benchmarks.sparse_weights import sparse_weights

from . import runner
from .test_oracle import reference

KERNELS = [
    ("avx512vnni", "rows_16x4"),
    ("avx512vnni", "fine"),
    ("avx512vnni", "two_bit"),
    ("avxvnni", "fine"),
    ("avx2", "fine"),
    ("portable", "fine"),
]
# `two_bit` is for layers read from memory: it takes 8 positions at most.
MANY_ROWS = [kernel for kernel in KERNELS if kernel[1] != "two_bit"]
PATTERNS = [
    ("dense", 1.0),
    ("2:4", 0.5),
    ("1:4", 0.25),
    ("2:8", 0.25),
    ("4:16", 0.25),
    ("16:64", 0.25),
    ("12:64", 0.19),
    ("8:64", 0.125),
    ("4:64", 0.06),
    ("4x4", 0.3),
    ("8x4", 0.3),
    ("16x4", 0.3),
    ("32x4", 0.3),
    ("unstructured", 0.5),
    ("unstructured", 0.05),
]


def skip_unless_here(isa, kernel):
    needed = {
        "avx512vnni": ["avx512_vnni"] + ["avx512vbmi"] * (kernel != "rows_16x4"),
        "avxvnni": ["avx_vnni"],
        "avx2": ["avx2"],
        "portable": [],
    }[isa]
    if not all(map(runner.cpu_has, needed)):
        pytest.skip(f"needs {needed}")


def assert_exact(model, isa, kernel, least=9, threads=(1, 2)):
    """The kernel was used; its outputs are XNNPACK's and those of the oracle."""
    skip_unless_here(isa, kernel)
    (decision,) = runner.plan_of(model, isa=isa, kernel=kernel, min_gain="0")
    assert (decision["isa"], decision["kernel"]) == (isa, kernel)
    runner.assert_exact(model, (isa,), threads, least=least, kernel=kernel)
    x = model.input(1)
    ours = runner.interpreter(model, isa=isa, kernel=kernel, min_gain="0")
    actual = runner.invoke(ours, x)
    expected = reference(model, x)
    np.testing.assert_array_equal(actual.reshape(expected.shape), expected)


@pytest.mark.parametrize(("isa", "kernel"), KERNELS)
@pytest.mark.parametrize(("pattern", "density"), PATTERNS)
@pytest.mark.parametrize("m", [1, 7])
def test_patterns_at_few_positions(isa, kernel, pattern, density, m):
    weights = sparse_weights((80, 192), pattern, density, seed=m)
    model = one_op_models.fully_connected_model(weights, m)
    assert_exact(model, isa, kernel)


@pytest.mark.parametrize(("isa", "kernel"), MANY_ROWS)
@pytest.mark.parametrize(("pattern", "density"), PATTERNS)
def test_patterns_at_many_positions(isa, kernel, pattern, density):
    weights = sparse_weights((80, 192), pattern, density)
    assert_exact(one_op_models.fully_connected_model(weights, 61), isa, kernel)


@pytest.mark.parametrize(("isa", "kernel"), KERNELS)
def test_every_depth(isa, kernel):
    for k in range(1, 131):
        weights = sparse_weights((19, k), "unstructured", 0.6, seed=k)
        model = one_op_models.fully_connected_model(weights, 1 + k % 5)
        assert_exact(model, isa, kernel, least=1, threads=(1,))


@pytest.mark.parametrize(("isa", "kernel"), KERNELS)
def test_every_number_of_outputs(isa, kernel):
    for n in range(1, 36):
        weights = sparse_weights((n, 70), "unstructured", 0.4, seed=n)
        model = one_op_models.fully_connected_model(weights, 4)
        assert_exact(model, isa, kernel, least=1, threads=(1,))


@pytest.mark.parametrize(("isa", "kernel"), KERNELS)
def test_every_height_of_a_tile(isa, kernel):
    for m in range(1, 9 if kernel == "two_bit" else 60):
        weights = sparse_weights((40, 100), "unstructured", 0.3, seed=m)
        model = one_op_models.fully_connected_model(weights, m)
        assert_exact(model, isa, kernel, threads=(1,))


@pytest.mark.parametrize(("isa", "kernel"), MANY_ROWS)
@pytest.mark.parametrize(
    ("m", "k", "n"), [(197, 384, 100), (128, 768, 768), (3, 4100, 20), (300, 3, 16)]
)
def test_shapes(isa, kernel, m, k, n):
    weights = sparse_weights((n, k), "unstructured", 0.2, seed=m)
    assert_exact(one_op_models.fully_connected_model(weights, m), isa, kernel)


@pytest.mark.parametrize(("isa", "kernel"), MANY_ROWS)
@pytest.mark.parametrize(
    ("height", "width", "channels", "outputs", "size", "stride", "padding"),
    [
        (14, 14, 64, 64, 3, 1, "same"),
        (14, 15, 70, 40, 3, 2, "same"),
        (7, 7, 130, 33, 3, 1, "same"),
        (15, 15, 16, 16, 3, 2, "valid"),
        (28, 28, 3, 16, 5, 2, "same"),
        (7, 7, 13, 9, 5, 1, "same"),
        (30, 2, 16, 8, 5, 1, "same"),
        (1, 1, 16, 64, 3, 1, "same"),
        (3, 30, 16, 8, 3, 1, "valid"),
        (8, 9, 64, 128, 1, 1, "same"),
        (8, 9, 64, 128, 1, 2, "same"),
        (9, 10, 3, 8, 5, 3, "valid"),
        (9, 9, 4, 8, 2, 3, "same"),
    ],
)
def test_convolutions(
    isa, kernel, height, width, channels, outputs, size, stride, padding
):
    shape = (outputs, size, size, channels)
    weights = sparse_weights(shape, "unstructured", 0.3)
    model = one_op_models.conv2d_model(
        weights, height, width, batch=2, stride=stride, padding=padding
    )
    assert_exact(model, isa, kernel)


@pytest.mark.parametrize(("isa", "kernel"), KERNELS)
@pytest.mark.parametrize("activation", [None, "relu", "relu6", "relu_n1_to_1"])
@pytest.mark.parametrize("zero_points", [(-128, -128), (127, 127), (0, 0), (-128, 60)])
def test_clamping(isa, kernel, activation, zero_points):
    if activation is not None and zero_points == (127, 127):
        zero_points = (127, 40)
    options = {
        "activation": activation,
        "input_zero_point": zero_points[0],
        "output_zero_point": zero_points[1],
    }
    weights = sparse_weights((72, 64), "unstructured", 0.3)
    model = one_op_models.fully_connected_model(weights, 6, **options)
    assert_exact(model, isa, kernel)
    weights = sparse_weights((24, 3, 3, 20), "unstructured", 0.4)
    model = one_op_models.conv2d_model(weights, 2, 4, **options)
    assert_exact(model, isa, kernel)


def staircase():
    """Output n has n nonzeros in every window of 64."""
    return np.tile(np.arange(64) < np.arange(65)[:, None], 2)


def one_full_window():
    """All 64 in one window of one output, one nonzero in another."""
    keep = np.zeros((48, 256), bool)
    keep[20, 64:128] = True
    keep[47, 255] = True
    return keep


def one_full_output():
    keep = np.zeros((33, 130), bool)
    keep[32] = True
    return keep


@pytest.mark.parametrize(("isa", "kernel"), KERNELS)
@pytest.mark.parametrize("mask", [staircase, one_full_window, one_full_output])
@pytest.mark.parametrize("backwards", [False, True])
def test_uneven_counts(isa, kernel, mask, backwards):
    keep = mask()[::-1, ::-1] if backwards else mask()
    weights = sparse_weights(keep.shape, "dense") * keep
    model = one_op_models.fully_connected_model(weights, 8)
    assert_exact(model, isa, kernel, least=5)


@pytest.mark.parametrize(("isa", "kernel"), KERNELS)
def test_no_weights_at_all(isa, kernel):
    model = one_op_models.fully_connected_model(np.zeros((20, 70), np.int8), 5)
    assert_exact(model, isa, kernel, least=1)


@pytest.mark.parametrize(("isa", "kernel"), KERNELS)
def test_largest_sums(isa, kernel):
    weights = np.full((16, 256), 127, np.int8)
    weights[::2] = -128
    model = one_op_models.fully_connected_model(weights, 4)
    skip_unless_here(isa, kernel)
    plain = runner.interpreter(model)
    ours = runner.interpreter(model, isa=isa, kernel=kernel, min_gain="0")
    for value in (-128, 127):
        x = np.full(model.input_shape, value, np.int8)
        np.testing.assert_array_equal(runner.invoke(ours, x), runner.invoke(plain, x))


@pytest.mark.parametrize(("isa", "kernel"), KERNELS)
def test_resized_inputs(isa, kernel):
    weights = sparse_weights((40, 64), "4:16", 0.25)
    model = one_op_models.fully_connected_model(weights, 8)
    ours = runner.interpreter(model, isa=isa, kernel=kernel, min_gain="0")
    plain = runner.interpreter(model)
    rng = np.random.default_rng(0)
    for rows in (1, 33, 8, 28, 29, 3):
        x = rng.integers(-128, 128, size=(rows, 64)).astype(np.int8)
        outputs = []
        for each in (ours, plain):
            each.resize_tensor_input(each.get_input_details()[0]["index"], x.shape)
            each.allocate_tensors()
            outputs.append(runner.invoke(each, x))
        np.testing.assert_array_equal(*outputs)


@pytest.mark.parametrize("kernel", ["fine", "rows_16x4"])
def test_dense_changes_no_output(kernel):
    weights = sparse_weights((50, 3, 3, 70), "unstructured", 0.3)
    model = one_op_models.conv2d_model(weights, 6, 6)
    x = model.input()
    expected = runner.invoke(runner.interpreter(model), x)
    ours = runner.interpreter(model, 2, dense="1", kernel=kernel)
    np.testing.assert_array_equal(runner.invoke(ours, x), expected)
