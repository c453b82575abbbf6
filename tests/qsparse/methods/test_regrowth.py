"""Dropping and growing: exact counts, and who goes and comes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsparse.methods.patterns import Block, Unstructured
from qsparse.methods.regrowth import REGROWTHS, SET, RigL, regrown


def naive(mask, weights, growth, fraction):
    """Drop and grow weight by weight, as RigL's pseudo code says."""
    kept = [i for i in np.ndindex(mask.shape) if mask[i]]
    count = round(fraction * len(kept))
    kept.sort(key=lambda i: (weights[i], i))
    survivors = set(kept[count:])
    free = [i for i in np.ndindex(mask.shape) if i not in survivors]
    free.sort(key=lambda i: (-growth[i], i))
    new = np.zeros_like(mask)
    for i in [*survivors, *free[:count]]:
        new[i] = True
    return new


def test_the_lowest_are_dropped_and_the_steepest_grow():
    rng = np.random.default_rng(1)
    weights, growth = rng.random((2, 20, 30)), rng.random((2, 20, 30))
    mask = Unstructured().mask(rng.random((2, 20, 30)), 0.8)
    new = regrown(Unstructured(), mask, weights, growth, 0.25, 0.8)
    expected = naive(mask, weights, growth, 0.25)
    assert (mask & ~new).sum() > 20
    # The two differ where an output would lose all it has.
    rows = expected.any(axis=(0, 1))
    assert rows.mean() > 0.9
    np.testing.assert_array_equal(new[:, :, rows], expected[:, :, rows])


@given(
    seed=st.integers(0, 99),
    sparsity=st.floats(0.05, 0.95),
    fraction=st.floats(0.0, 0.9),
    block=st.sampled_from([None, (4, 4), (2, 1)]),
    zeros=st.booleans(),
)
def test_counts_are_exact_and_tiles_stay_whole(seed, sparsity, fraction, block, zeros):
    rng = np.random.default_rng(seed)
    pattern = Unstructured() if block is None else Block(block)
    shape = (2, 8, 12)
    weights = np.zeros(shape) if zeros else rng.random(shape)
    mask = pattern.mask(rng.random(shape), sparsity)
    new = regrown(pattern, mask, weights, rng.random(shape), fraction, sparsity)
    assert new.sum() == mask.sum()
    assert new.any(axis=(0, 1)).all()
    out, inp = block or (1, 1)
    tiles = new.reshape(2, 8 // inp, inp, 12 // out, out)
    assert (tiles.all(axis=(2, 4)) == tiles.any(axis=(2, 4))).all()
    if fraction == 0.0:
        np.testing.assert_array_equal(new, mask)


def test_the_share_falls_along_a_cosine():
    for method in (RigL(0.4), SET(0.4)):
        shares = [method.fraction(t) for t in (0.0, 0.25, 0.5, 0.75, 1.0)]
        expected = [0.4, 0.2 * (1 + np.sqrt(0.5)), 0.2, 0.2 * (1 - np.sqrt(0.5)), 0.0]
        np.testing.assert_allclose(shares, expected, atol=1e-15)


def test_scores():
    gradients = np.array([[[-2.0, 1.0]]], np.float32)
    np.testing.assert_array_equal(RigL().score(gradients, (1, 1, 2), 0), [[[2, 1]]])
    with pytest.raises(ValueError, match="RigL grows weights by their gradients"):
        RigL().score(None, (1, 1, 2), 0)
    one, same, other = (SET().score(None, (1, 4, 5), seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).all() and one.min() >= 0 and one.max() < 1


@pytest.mark.parametrize("alpha", [0, 1, -0.1, "a", None])
def test_a_bad_share_is_refused(alpha):
    for cls in (RigL, SET):
        with pytest.raises(ValueError, match="`alpha` must be"):
            cls(alpha)
    assert REGROWTHS.get({"name": "rigl", "alpha": 0.5}) == RigL(0.5)
