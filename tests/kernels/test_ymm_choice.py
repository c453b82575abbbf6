"""Which kernel the ISAs with 256-bit registers choose, as was measured to be faster."""

import pytest

from benchmarks import one_op_models
from benchmarks.sparse_weights import sparse_weights

from . import runner

CPUS = {"avxvnni": "alderlake", "avx2": "znver3"}
ISAS = list(CPUS)
FINE = ["2:4", "4:8", "8:16", "1:4", "2:8", "4:16", "16:64", "8:64"]
BLOCKS = [("4x4", 0.5), ("4x4", 0.25), ("4x4", 0.1), ("1:4 4x4", 0), ("16x4", 0.2)]


def layers(pattern, density=1.0):
    weights = sparse_weights((256, 768), pattern, density)
    for m in (16, 128, 197):
        yield one_op_models.fully_connected_model(weights, m)
    weights = sparse_weights((64, 3, 3, 128), pattern, density)
    for size in (7, 14, 28):
        yield one_op_models.conv2d_model(weights, size, size)


def chosen(model, isa):
    (decision,) = runner.plan_of(model, cpu=CPUS[isa], min_gain="0")
    assert decision["isa"] == isa
    return decision["kernel"]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("pattern", FINE)
def test_fine_patterns(isa, pattern):
    for model in layers(pattern):
        assert chosen(model, isa) == "fine"


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("density", [0.2, 0.1])
def test_unstructured(isa, density):
    for model in layers("unstructured", density):
        assert chosen(model, isa) == "fine"


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(("pattern", "density"), BLOCKS)
def test_blocks(isa, pattern, density):
    for model in layers(pattern, density):
        assert chosen(model, isa) == "block_4x4"


@pytest.mark.parametrize("isa", ISAS)
def test_nothing_to_skip(isa):
    for model in layers("dense"):
        assert chosen(model, isa) == "block_4x4"
