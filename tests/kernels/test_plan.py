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
    "pattern",
    "density",
    "block_density",
    "kernel",
    "isa",
    "predicted_gain",
    "claimed",
    "group",
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
    weights = one_op_models.sparse_weights((256, 256), "1:4 4x4")
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


@pytest.mark.parametrize("isa", runner.ISAS)
def test_few_positions_have_a_kernel_of_their_own(isa):
    weights = one_op_models.sparse_weights((64, 64), "4x4", 0.3)
    for m in (1, 12, 13):
        model = one_op_models.fully_connected_model(weights, m)
        (decision,) = runner.plan_of(model, isa=isa, min_gain="0")
        few = decision["isa"] == "avx512vnni" and m <= 12
        assert decision["kernel"] == ("few_rows" if few else "block_4x4")


def test_few_positions_are_taken_where_that_was_measured_to_gain():
    weights = one_op_models.sparse_weights((768, 768), "1:4 4x4")
    for m, gains in ((1, False), (2, True), (4, True), (8, True)):
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
