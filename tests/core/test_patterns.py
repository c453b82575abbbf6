"""Masks against the blind oracle, on trained weights and on ties."""

import numpy as np
import pytest

from qsparse import NM, Block, Unstructured
from qsparse.patterns import PATTERNS
from tests import oracles

KERNELS = ("conv", "dense")


@pytest.fixture(params=KERNELS)
def scores(request, trained_weights):
    return np.abs(trained_weights[request.param])


@pytest.fixture
def tied():
    """Integers with many ties, as quantized weights have."""
    return np.random.default_rng(3).integers(0, 4, (3, 16, 8)).astype(np.float32)


@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.5, 0.75, 0.99])
def test_unstructured(scores, tied, sparsity):
    for values in (scores, tied):
        expected = oracles.unstructured_mask(values, sparsity)
        np.testing.assert_array_equal(Unstructured().mask(values, sparsity), expected)


@pytest.mark.parametrize("shape", [(4, 4), (1, 4), (2, 8), (4, 16)])
@pytest.mark.parametrize("sparsity", [0.0, 0.33, 0.75, 0.9])
def test_block(scores, tied, shape, sparsity):
    for values in (scores, tied):
        expected = oracles.block_mask(values, shape, sparsity)
        np.testing.assert_array_equal(Block(shape).mask(values, sparsity), expected)


@pytest.mark.parametrize(
    ("n", "m", "block"),
    [(2, 4, (1, 1)), (1, 4, (1, 1)), (2, 8, (1, 1)), (1, 2, (4, 4))],
)
@pytest.mark.parametrize("sparsity", [None, 0.0, 0.2, 0.45])
def test_nm(scores, tied, n, m, block, sparsity):
    for values in (scores, tied):
        expected = oracles.nm_mask(values, n, m, block, sparsity)
        np.testing.assert_array_equal(NM(n, m, block).mask(values, sparsity), expected)


def test_nm_keeps_exactly_n_of_every_m(scores):
    mask = NM(2, 4).mask(scores)
    taps, inputs, outputs = mask.shape
    kept = mask.reshape(taps, inputs // 4, 4, outputs).sum(axis=2)
    assert (kept == 2).all()


@pytest.mark.parametrize("n, m", [(5, 4), (4, 4), (0, 4), (-1, 2)])
def test_nm_rejects_impossible_counts(n, m):
    with pytest.raises(ValueError, match=r"1 <= n < m.*Received: NM\("):
        NM(n, m)


def test_nm_accepts_numpy_integers_and_no_floats():
    assert NM(np.int64(2), 4) == NM(2, 4)
    with pytest.raises(ValueError, match="`n` must be an integer. Received: n=2.0"):
        NM(2.0, 4)


@pytest.mark.parametrize("shape", [4, (4,), (0, 4), (4, 4.0), (True, 4), (4, 4, 4)])
def test_block_rejects_bad_shapes(shape):
    with pytest.raises(ValueError, match="two positive integers"):
        Block(shape)


@pytest.mark.parametrize("sparsity", [None, -0.1, 1.0])
@pytest.mark.parametrize("pattern", [Unstructured(), Block()])
def test_sparsity_out_of_range(pattern, sparsity):
    with pytest.raises(ValueError, match=r"\[0, 1\)"):
        pattern.final_sparsity(sparsity)


def test_nm_fixes_its_sparsity():
    assert NM(1, 4).final_sparsity(None) == 0.75
    with pytest.raises(ValueError, match="1:4 fixes the sparsity at 0.75"):
        NM(1, 4).final_sparsity(0.5)


def test_misfits_name_the_axis():
    assert Block().misfit((9, 3, 8)) == "3 inputs are not divisible by 4"
    assert Block().misfit((9, 8, 10)) == "10 outputs are not divisible by 4"
    assert NM(2, 4).misfit((1, 6, 10)) == "6 inputs are not divisible by 4"
    assert NM(1, 4, (4, 4)).misfit((1, 8, 8)) == "8 inputs are not divisible by 16"
    assert NM(2, 4).misfit((1, 8, 3)) is None


@pytest.mark.parametrize(
    "pattern", [Unstructured(), Block((8, 4)), NM(2, 4), NM(1, 4, (4, 4))]
)
def test_registry_round_trip(pattern):
    assert PATTERNS.get(PATTERNS.to_dict(pattern)) == pattern


def test_registry_rejects_unknown_names():
    with pytest.raises(ValueError, match="Unknown pattern.*'block'.*Received: 'blok'"):
        PATTERNS.get("blok")
    with pytest.raises(ValueError, match="Bad pattern 'nm'"):
        PATTERNS.get({"name": "nm", "n": 2})
