"""Which kernel of which CPU takes a layer, if any: the CPU is an argument of the model.

The option `cpu` names one; what is planned for it does not depend on the CPU at hand.
"""

import numpy as np
import pytest

from benchmarks import one_op_models
from benchmarks.sparse_weights import sparse_weights

from . import runner
from .test_chains import bottleneck, perceptron

CPUS = (
    "haswell",
    "znver3",
    "skylake-avx512",
    "alderlake",
    "cascadelake",
    "icelake-server",
    "znver5",
    "sapphirerapids",
)


def fully_connected(m, pattern, density=1.0, k=768, n=768):
    weights = sparse_weights((n, k), pattern, density)
    return one_op_models.fully_connected_model(weights, m)


def conv2d(size, kernel, channels, outputs, pattern, density=1.0):
    shape = (outputs, kernel, kernel, channels)
    weights = sparse_weights(shape, pattern, density)
    return one_op_models.conv2d_model(weights, size, size)


def decide(model, cpu, **options):
    (decision,) = runner.plan_of(model, cpu=cpu, **options)
    return decision


# What was measured to be fastest, by a margin: on Zen 5, on Ice Lake and, without
# VBMI, on Cascade Lake.
FASTEST = [
    (1, "16x4", 0.2, "rows_16x4", "rows_16x4", "rows_16x4"),
    (1, "4x4", 0.25, "fine", "fine", "rows_16x4"),
    (1, "2:4", 0.5, "two_bit", "two_bit", "rows_16x4"),
    (1, "1:4", 0.25, "two_bit", "two_bit", "rows_16x4"),
    (8, "16x4", 0.2, "rows_16x4", "rows_16x4", "rows_16x4"),
    (64, "4x4", 0.25, "block_4x4", "block_4x4", "block_4x4"),
    (64, "16x4", 0.1, "block_4x4", "block_4x4", "block_4x4"),
    # Intel shuffles one register per cycle, AMD one and a half.
    (64, "2:4", 0.5, "fine", "block_4x4", "block_4x4"),
    (64, "8:64", 0.125, "fine", "fine", "block_4x4"),
    (64, "unstructured", 0.1, "fine", "fine", "block_4x4"),
]


@pytest.mark.parametrize(("m", "pattern", "density", "amd", "intel", "old"), FASTEST)
def test_the_fastest_kernel_is_chosen(m, pattern, density, amd, intel, old):
    model = fully_connected(m, pattern, density)
    for cpu, kernel in (
        ("znver5", amd),
        ("icelake-server", intel),
        ("cascadelake", old),
    ):
        decision = decide(model, cpu, min_gain="0")
        assert (decision["isa"], decision["kernel"]) == ("avx512vnni", kernel), cpu


# Whether XNNPACK's kernel reaches the peak (Zen 5), two thirds of it (Ice Lake) or has
# a unit of its own (AMX) decides what there is to gain.
GAINS = [
    (1, "16x4", True, True, True),
    (8, "16x4", True, True, True),
    (63, "16x4", True, True, False),
    (1, "2:8", True, True, True),
    (1, "dense", False, False, False),
    (63, "dense", False, True, False),
]


@pytest.mark.parametrize(("m", "pattern", "amd", "intel", "amx"), GAINS)
def test_gains_are_claimed_where_they_were_measured(m, pattern, amd, intel, amx):
    model = fully_connected(m, pattern, 0.25)
    assert decide(model, "znver5")["claimed"] is amd
    assert decide(model, "icelake-server")["claimed"] is intel
    assert decide(model, "sapphirerapids")["claimed"] is amx


@pytest.mark.parametrize("cpu", CPUS)
def test_a_single_dense_row_is_left_to_xnnpack(cpu):
    decision = decide(fully_connected(1, "dense", k=256, n=256), cpu)
    assert decision["claimed"] is False
    assert "below min_gain 1.10" in decision["reason"]


# XNNPACK's time over ours, measured on a Xeon with AMX.
ON_AMX = [
    (fully_connected, (128, "4x4", 0.5), 0.57),
    (fully_connected, (128, "4x4", 0.25), 1.04),
    (fully_connected, (128, "4x4", 0.1), 1.99),
    (fully_connected, (64, "4x4", 0.25, 768, 3072), 1.83),
    (fully_connected, (197, "4x4", 0.25), 1.12),
    (conv2d, (14, 3, 256, 256, "4x4", 0.5), 0.50),
    (conv2d, (14, 3, 256, 256, "4x4", 0.25), 0.92),
    (conv2d, (14, 3, 256, 256, "4x4", 0.1), 2.26),
]

# The same on a Zen 3, where XNNPACK has AVX2.
ON_AVX2 = [
    (fully_connected, (1, "4x4", 0.25), 0.92),
    (fully_connected, (1, "4x4", 0.1), 1.96),
    (fully_connected, (8, "4x4", 0.25), 4.25),
    (fully_connected, (128, "dense"), 1.30),
    (fully_connected, (128, "4x4", 0.25), 4.64),
    (fully_connected, (64, "2:8", 0.25, 256, 256), 3.45),
    (fully_connected, (1, "4x4", 0.25, 1024, 4096), 0.87),
    (conv2d, (14, 3, 256, 256, "dense"), 1.11),
    (conv2d, (14, 3, 256, 256, "4x4", 0.25), 4.37),
    (conv2d, (28, 1, 16, 16, "dense"), 0.90),
    (conv2d, (56, 1, 64, 256, "4x4", 0.25), 3.50),
]


@pytest.mark.parametrize(
    ("cpu", "make", "arguments", "measured"),
    [("sapphirerapids", *case) for case in ON_AMX]
    + [("znver3", *case) for case in ON_AVX2],
)
def test_predicted_gains_are_those_measured(cpu, make, arguments, measured):
    decision = decide(make(*arguments), cpu)
    assert decision["predicted_gain"] == pytest.approx(measured, rel=0.2)
    if measured < 1:
        assert decision["claimed"] is False


def dense_layers():
    for m in (1, 2, 4, 8, 16, 49, 197):
        for k, n in ((16, 16), (32, 128), (64, 10), (256, 256), (768, 3072)):
            yield fully_connected(m, "dense", k=k, n=n)
    for size, kernel, channels, outputs in (
        (28, 3, 3, 16),
        (28, 3, 16, 16),
        (28, 3, 32, 32),
        (56, 1, 64, 256),
        (28, 1, 16, 64),
        (14, 3, 128, 128),
        (7, 3, 64, 64),
    ):
        yield conv2d(size, kernel, channels, outputs, "dense")


def test_amx_leaves_no_dense_layer_to_us():
    claimed = [
        (d["weight_shape"], d["input_shape"], d["predicted_gain"])
        for model in dense_layers()
        for d in runner.plan_of(model, cpu="sapphirerapids")
        if d["claimed"]
    ]
    assert claimed == []


@pytest.mark.parametrize("make", [perceptron, bottleneck])
def test_amx_leaves_no_dense_chain_to_us(make, monkeypatch):
    """Not even where planes between layers save the packing."""
    monkeypatch.setattr(f"{make.__module__}.weights", dense_weights)
    plan = runner.plan_of(make(), cpu="sapphirerapids")
    assert len(plan) >= 3 and not any(d["claimed"] for d in plan)
    monkeypatch.setattr(f"{make.__module__}.weights", quite_sparse)
    plan = runner.plan_of(make(), cpu="sapphirerapids", min_gain="0")
    assert all(d["claimed"] for d in plan)


def dense_weights(*shape, seed=0):
    return sparse_weights(shape, "dense", 1.0, seed)


def quite_sparse(*shape, seed=0):
    return sparse_weights(shape, "4x4", 0.2, seed)


def test_amx_leaves_us_what_is_sparse_enough():
    assert not decide(fully_connected(128, "4x4", 0.25), "sapphirerapids")["claimed"]
    assert decide(fully_connected(128, "4x4", 0.1), "sapphirerapids")["claimed"]


def test_a_layer_by_itself_is_claimed_by_the_gain_it_has_alone():
    """It saves no packing, so it is not judged as if it stood in a chain."""
    for density in (0.5, 0.3, 0.25, 0.2, 0.1):
        for m in (4, 16, 64):
            model = fully_connected(m, "4x4", density, 256, 256)
            for cpu in CPUS:
                decision = decide(model, cpu)
                assert decision["claimed"] is (decision["predicted_gain"] >= 1.1), cpu


def test_sparser_and_larger_predicts_more():
    def gain(density, m):
        model = fully_connected(m, "4x4", density, 256, 256)
        return decide(model, "znver5")["predicted_gain"]

    assert gain(0.1, 64) > gain(0.25, 64) > gain(0.5, 64)
    assert gain(0.25, 64) > gain(0.25, 4) > gain(0.25, 1)


def test_without_vnni_512_bits_gain_xnnpack_something():
    """Its kernels for AVX-512 are faster than its AVX2 ones; ours are the same."""
    model = fully_connected(128, "4x4", 0.25)
    assert (
        decide(model, "skylake-avx512")["predicted_gain"]
        < decide(model, "haswell")["predicted_gain"]
    )


@pytest.mark.parametrize("kernel", ["few_rows", "block_4x4", "rows_16x4"])
def test_a_kernel_is_forced_where_it_takes_the_layer(kernel):
    for m in (1, 12, 13):
        model = fully_connected(m, "4x4", 0.3, 64, 64)
        decision = decide(model, "znver5", kernel=kernel, min_gain="0")
        takes = kernel != "few_rows" or m <= 12
        assert (decision["kernel"] == kernel) is takes


def test_planning_for_a_cpu_takes_nothing(tmp_path):
    """Its instructions may not exist here: XNNPACK runs all."""
    model = fully_connected(64, "4x4", 0.1, 64, 64)
    x = model.input()
    options = {"cpu": "znver5", "plan": str(tmp_path / "plan.json"), "min_gain": "0"}
    planned = runner.interpreter(model, **options)
    names = [op["op_name"] for op in planned._get_ops_details()]
    plain = [op["op_name"] for op in runner.interpreter(model)._get_ops_details()]
    assert names == plain
    expected = runner.invoke(runner.interpreter(model), x)
    np.testing.assert_array_equal(runner.invoke(planned, x), expected)
