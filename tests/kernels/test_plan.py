"""The plan: every candidate layer, what was decided and why."""

import pytest

from benchmarks import one_op_models
from benchmarks.sparse_weights import sparse_weights

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
    weights = sparse_weights((64, 3, 3, 32), "1:4 4x4")
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
    weights = sparse_weights((64, 128), pattern, density)
    model = one_op_models.fully_connected_model(weights, 32)
    (decision,) = runner.plan_of(model, min_gain="0")
    assert decision["pattern"] == name
    assert decision["density"] == pytest.approx((weights != 0).mean(), abs=1e-4)


def test_dense_takes_everything():
    weights = sparse_weights((64, 64), "dense")
    model = one_op_models.fully_connected_model(weights, 1)
    (decision,) = runner.plan_of(model, dense="1")
    assert decision["claimed"] is True
    assert decision["kernel"] in KERNELS


def test_unsupported_layers_say_why():
    weights = sparse_weights((16, 3, 3, 16), "4x4", 0.3)
    model = one_op_models.conv2d_model(weights, 12, 12, dilation=65)
    (decision,) = runner.plan_of(model, min_gain="0")
    assert decision["claimed"] is False
    assert decision["reason"] == "dilation not supported"


def test_every_parallel_layer_is_listed():
    weights = sparse_weights((32, 32), "4x4", 0.3)
    model = one_op_models.fully_connected_model(weights, 16, layers=5)
    plan = runner.plan_of(model, min_gain="0")
    assert len(plan) == 5
    assert len({decision["output_tensor"] for decision in plan}) == 5
