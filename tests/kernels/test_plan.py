"""The plan: every candidate layer, what was decided and why."""

import pytest

from .. import one_op_models
from . import runner

KERNELS = {"block_4x4", "few_rows", "fine", "rows_16x4", "two_bit"}
KEYS = {
    "node",
    "op",
    "output_tensor",
    "input_shape",
    "weight_shape",
    "output_shape",
    "macs",
    "group",
    "pattern",
    "density",
    "block_density",
    "kernel",
    "isa",
    "predicted_gain",
    "claimed",
    "reason",
}


def test_conv2d_decision():
    weights = one_op_models.sparse_weights((64, 3, 3, 32), "1:4 4x4")
    model = one_op_models.conv2d_model(weights, 14, 14, stride=2)
    (decision,) = runner.plan_of(model, min_gain="0")
    assert set(decision) == KEYS
    assert decision["op"] == "CONV_2D"
    assert decision["input_shape"] == [1, 14, 14, 32]
    assert decision["weight_shape"] == [64, 3, 3, 32]
    assert decision["output_shape"] == [1, 7, 7, 64]
    assert decision["macs"] == 7 * 7 * 64 * 9 * 32
    assert decision["pattern"] == "1:4 4x4"
    assert decision["density"] == decision["block_density"] == 0.25
    assert decision["kernel"] == "block_4x4"
    assert decision["claimed"] is True
    assert decision["predicted_gain"] > 0


@pytest.mark.parametrize(
    ("pattern", "density", "name"),
    [
        ("dense", 1.0, "dense"),
        ("4x4", 0.3, "4x4"),
        ("8x4", 0.3, "8x4"),
        ("16x4", 0.3, "16x4"),
        ("32x4", 0.3, "32x4"),
        ("1:4", 0.25, "1:4"),
        ("2:8", 0.25, "2:8"),
        ("4:16", 0.25, "4:16"),
        ("4:64", 0.06, "4:64"),
        ("8:64", 0.125, "8:64"),
        ("12:64", 0.19, "12:64"),
        ("16:64", 0.25, "16:64"),
        ("unstructured", 0.05, "unstructured"),
        ("1:4 4x4", 0.25, "1:4 4x4"),
        ("2:4", 0.5, "2:4"),
        ("unstructured", 0.5, "unstructured"),
    ],
)
def test_patterns_are_recognized(pattern, density, name):
    weights = one_op_models.sparse_weights((64, 128), pattern, density)
    model = one_op_models.fully_connected_model(weights, 32)
    (decision,) = runner.plan_of(model, min_gain="0")
    assert decision["pattern"] == name
    assert decision["density"] == pytest.approx((weights != 0).mean(), abs=1e-4)


def test_a_layer_without_gain_is_left_to_xnnpack():
    weights = one_op_models.sparse_weights((256, 256), "dense")
    model = one_op_models.fully_connected_model(weights, 1)
    (decision,) = runner.plan_of(model)
    assert decision["claimed"] is False
    assert "below min_gain 1.10" in decision["reason"]


def test_sparser_and_larger_predicts_more():
    def gain(density, m):
        weights = one_op_models.sparse_weights((256, 256), "4x4", density)
        model = one_op_models.fully_connected_model(weights, m)
        return runner.plan_of(model)[0]["predicted_gain"]

    assert gain(0.1, 64) > gain(0.25, 64) > gain(0.5, 64)
    assert gain(0.25, 64) > gain(0.25, 4) > gain(0.25, 1)


@pytest.mark.parametrize("kernel", ["few_rows", "block_4x4", "rows_16x4"])
def test_a_kernel_is_forced_where_it_takes_the_layer(kernel):
    weights = one_op_models.sparse_weights((64, 64), "4x4", 0.3)
    for m in (1, 12, 13):
        model = one_op_models.fully_connected_model(weights, m)
        (decision,) = runner.plan_of(
            model, isa="avx512vnni", kernel=kernel, min_gain="0"
        )
        if decision["isa"] != "avx512vnni":
            pytest.skip("needs AVX512-VNNI")
        takes = kernel != "few_rows" or m <= 12
        assert (decision["kernel"] == kernel) is takes


# What was measured to be fastest, by a margin: with VBMI, and without.
FASTEST = [
    (1, "16x4", 0.2, "rows_16x4", "rows_16x4"),
    (1, "4x4", 0.25, "fine", "few_rows"),
    (1, "2:4", 0.5, "two_bit", "rows_16x4"),
    (1, "1:4", 0.25, "two_bit", "rows_16x4"),
    (8, "16x4", 0.2, "rows_16x4", "rows_16x4"),
    (64, "4x4", 0.25, "block_4x4", "block_4x4"),
    (64, "16x4", 0.1, "block_4x4", "block_4x4"),
    (64, "2:4", 0.5, "fine", "block_4x4"),
    (64, "8:64", 0.125, "fine", "block_4x4"),
    (64, "unstructured", 0.1, "fine", "block_4x4"),
]


@pytest.mark.parametrize(("m", "pattern", "density", "vbmi", "other"), FASTEST)
def test_the_fastest_kernel_is_chosen(m, pattern, density, vbmi, other):
    weights = one_op_models.sparse_weights((768, 768), pattern, density)
    model = one_op_models.fully_connected_model(weights, m)
    (decision,) = runner.plan_of(model, isa="avx512vnni", min_gain="0")
    if decision["isa"] != "avx512vnni":
        pytest.skip("needs AVX512-VNNI")
    assert decision["kernel"] == (vbmi if runner.cpu_has("avx512vbmi") else other)


@pytest.mark.parametrize(
    ("m", "pattern", "gains"),
    [(1, "16x4", True), (8, "16x4", True), (63, "16x4", True)]
    + [(1, "2:8", True), (1, "dense", False), (63, "dense", False)],
)
def test_gains_are_claimed_where_they_were_measured(m, pattern, gains):
    weights = one_op_models.sparse_weights((768, 768), pattern, 0.25)
    model = one_op_models.fully_connected_model(weights, m)
    (decision,) = runner.plan_of(model, isa="avx512vnni")
    if decision["isa"] != "avx512vnni":
        pytest.skip("needs AVX512-VNNI")
    assert decision["claimed"] is gains


def test_dense_takes_everything():
    weights = one_op_models.sparse_weights((64, 64), "dense")
    model = one_op_models.fully_connected_model(weights, 1)
    (decision,) = runner.plan_of(model, dense="1")
    assert decision["claimed"] is True
    assert decision["kernel"] in KERNELS


def test_unsupported_layers_say_why():
    weights = one_op_models.sparse_weights((16, 3, 3, 16), "4x4", 0.3)
    model = one_op_models.conv2d_model(weights, 12, 12, dilation=65)
    (decision,) = runner.plan_of(model, min_gain="0")
    assert decision["claimed"] is False
    assert decision["reason"] == "dilation not supported"


def test_every_parallel_layer_is_listed():
    weights = one_op_models.sparse_weights((32, 32), "4x4", 0.3)
    model = one_op_models.fully_connected_model(weights, 16, layers=5)
    plan = runner.plan_of(model, min_gain="0")
    assert len(plan) == 5
    assert len({decision["output_tensor"] for decision in plan}) == 5
