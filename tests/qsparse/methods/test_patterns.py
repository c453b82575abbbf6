"""Masks against the blind oracle, on trained weights and on ties."""

import numpy as np
import pytest

from qsparse import NM, Block, Unstructured
from qsparse.methods.patterns import PATTERNS, nm
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
        expected = oracles.unstructured_mask(values, sparsity, spare=True)
        np.testing.assert_array_equal(Unstructured().mask(values, sparsity), expected)


@pytest.mark.parametrize("shape", [(4, 4), (1, 4), (2, 8), (4, 16)])
@pytest.mark.parametrize("sparsity", [0.0, 0.33, 0.75, 0.9])
def test_block(scores, tied, shape, sparsity):
    for values in (scores, tied):
        expected = oracles.block_mask(values, shape, sparsity, spare=True)
        np.testing.assert_array_equal(Block(shape).mask(values, sparsity), expected)


@pytest.mark.parametrize(
    ("n", "m", "block"),
    [
        (2, 4, (1, 1)),
        (1, 4, (1, 1)),
        (2, 8, (1, 1)),
        (4, 16, (1, 1)),
        (1, 2, (4, 4)),
        (2, 4, (2, 4)),
    ],
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


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("4x4", Block((4, 4))),
        ("16x4", Block((16, 4))),
        ("2:4", NM(2, 4)),
        ("1:4", NM(1, 4)),
        ("4:16", NM(4, 16)),
        (" 2:4 of 4x4 ", NM(2, 4, (4, 4))),
        ("Block", Block()),
    ],
)
def test_patterns_go_by_text(text, pattern):
    assert PATTERNS.get(text) == pattern
    assert PATTERNS.get(str(pattern)) == pattern


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("nm", "'nm' needs n and m.*\"2:4\" or NM\\(2, 4\\)"),
        ("4:2", "did you mean NM\\(2, 4\\)"),
        ("0x4", "two positive integers.*shape=\\(0, 4\\)"),
        (Block, "not a class. Received: the class Block. Write Block\\("),
        (0.75, "0.75 is a number.*write sparsity=0.75"),
        ("4×4", 'text like "4x4", "16x4", "2:4".*Received: \'4×4\''),
    ],
)
def test_wrong_patterns_say_what_is_meant(pattern, message):
    with pytest.raises(ValueError, match=message):
        PATTERNS.get(pattern)


def test_block_takes_one_pair():
    with pytest.raises(ValueError, match=r"Block\(4, 4\). Write Block\(\(4, 4\)\)"):
        Block(4, 4)


@pytest.mark.parametrize("sparsity", [75, 75.0, "75%", " 75 % ", np.float32(75)])
@pytest.mark.parametrize("pattern", [Block(), Unstructured(), NM(1, 4)])
def test_percentages_are_shares(pattern, sparsity):
    with pytest.raises(ValueError, match=r"share of zeros.*Write 0.75 for 75%"):
        pattern.final_sparsity(sparsity)


@pytest.mark.parametrize(
    ("pattern", "shape", "zeros"),
    [
        # 2 blocks: 75% of them would be both. 4 in two groups: all of a group.
        (Block(), (1, 8, 4), 16),
        (Block(), (1, 8, 8), 2 * 16),
        (Block(), (1, 64, 64), 192 * 16),
        (Unstructured(), (1, 2, 3), 3),
        (NM(1, 4), (1, 4, 3), 9),
    ],
)
def test_every_output_keeps_weights(pattern, shape, zeros):
    scores = np.random.default_rng(5).random(shape).astype(np.float32)
    scores[..., 0] *= 0.01  # an output that would go first
    mask = pattern.mask(scores, 0.75)
    assert mask.any(axis=(0, 1)).all()
    assert np.count_nonzero(~mask) == zeros


def test_one_block_is_left_alone():
    assert Block().misfit((1, 4, 4)) == (
        "every 4 outputs have one 4x4 block only, which has to stay"
    )
    assert Block((1, 4)).misfit((1, 4, 8)) is not None
    assert Block().misfit((2, 4, 4)) is None
    assert Unstructured().misfit((1, 1, 5)) == (
        "every output has one weight only, which has to stay"
    )


def test_registry_rejects_unknown_names():
    with pytest.raises(ValueError, match="Unknown pattern.*'block'.*Received: 'blok'"):
        PATTERNS.get("blok")
    with pytest.raises(ValueError, match="Bad pattern 'nm'"):
        PATTERNS.get({"name": "nm", "n": 2})


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
@pytest.mark.parametrize("values", [3, 256])
@pytest.mark.parametrize("m", [2, 7, 256, 300])
def test_large_groups_are_ranked_as_small_ones(m, values, dtype):
    """Also where scores tie: the lower index comes first."""
    scores = np.random.default_rng(m).integers(0, values, (2, 3, m, 5)).astype(dtype)
    expected = nm._ranks_by_pairs(scores)
    np.testing.assert_array_equal(nm._ranks_by_sorting(scores), expected)
    np.testing.assert_array_equal(nm._ranks(scores), expected)
    reference = np.argsort(np.argsort(-scores.astype(float), 2, "stable"), 2, "stable")
    np.testing.assert_array_equal(expected, reference)


def test_a_group_of_a_whole_large_kernel_is_sorted(monkeypatch):
    """Pairs of 4096 tiles take minutes."""
    monkeypatch.setattr(nm, "_ranks_by_pairs", None)
    scores = np.random.default_rng(0).integers(0, 9, (1, 4096, 4)).astype(np.float32)
    mask = NM(1024, 4096).mask(scores)
    assert (mask.sum(axis=1) == 1024).all()
    assert scores[mask].min() >= scores[~mask].max()
