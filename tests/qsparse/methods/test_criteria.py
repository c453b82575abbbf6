"""Scores against formulas, written out as loops."""

import itertools
import json
import zlib

import numpy as np
import pytest

import qsparse
from qsparse import NM, Block, Unstructured
from qsparse.methods.criteria import CRITERIA
from qsparse.methods.criteria import block_fisher as block_fisher_module
from tests import oracles


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def tile_sums(scores, tile):
    return oracles.tile_scores(scores, *tile)


# --- Random ---------------------------------------------------------------------------


def test_random_scores_are_uniform_and_follow_from_seed_and_path():
    weights = normal(3, 40, 50)
    scores = qsparse.Random().score(weights, path="a/b")
    assert scores.shape == weights.shape and scores.dtype == np.float32
    assert 0 <= scores.min() and scores.max() < 1
    assert np.histogram(scores, 10, (0, 1))[0] == pytest.approx(600, rel=0.2)
    np.testing.assert_array_equal(scores, qsparse.Random().score(-weights, path="a/b"))
    for other in (
        qsparse.Random(1).score(weights, path="a/b"),
        qsparse.Random().score(weights, path="a/c"),
    ):
        assert abs(np.corrcoef(scores.ravel(), other.ravel())[0, 1]) < 0.1


def pcg64(entropy, count):
    """Return the top 24 bits of the numbers of PCG64 (XSL RR), from its definition."""
    words = np.random.SeedSequence(entropy)
    a, b, c, d = (int(w) for w in words.generate_state(4, np.uint64))
    mask = (1 << 128) - 1
    multiplier = (2549297995355413924 << 64) + 4865540595714422341
    state, step = 0, ((((c << 64) + d) << 1) | 1) & mask
    state = (state * multiplier + step) & mask
    state = (state + ((a << 64) + b)) & mask
    state = (state * multiplier + step) & mask
    found = []
    for _ in range(count):
        state = (state * multiplier + step) & mask
        turn, folded = state >> 122, (state >> 64) ^ (state & ((1 << 64) - 1))
        bits = ((folded >> turn) | (folded << (64 - turn))) & ((1 << 64) - 1)
        found.append(bits >> 40)
    return found


def test_random_scores_are_those_of_every_machine():
    found = qsparse.Random(5).score(np.zeros((1, 2, 2)), path="hidden") * 2**24
    expected = pcg64([5, zlib.crc32(b"hidden")], 4)
    np.testing.assert_array_equal(found.ravel(), expected)


# --- Products -------------------------------------------------------------------------


def test_products():
    weights, seen = normal(2, 3, 4), normal(2, 3, 4, seed=1)
    for index in np.ndindex(weights.shape):
        w, g = float(weights[index]), float(seen[index])
        for criterion, statistic, expected in (
            (qsparse.Saliency(), "gradients", abs(w * g)),
            (qsparse.SNIP(), "gradients", abs(w * g)),
            (qsparse.Movement(), "movement", g),
            (qsparse.Fisher(), "squares", w * w * g / 2),
            (qsparse.Fisher("optimizer"), "moments", w * w * g / 2),
        ):
            found = criterion.score(weights, **{statistic: seen})
            assert found[index] == pytest.approx(expected, rel=1e-6), criterion


def test_fisher_keeps_what_float32_would_lose():
    weights, squares = np.full((1, 1, 2), 1e-12, np.float32), np.zeros((1, 1, 2))
    squares[..., 0], squares[..., 1] = 1e-30, 2e-30
    low, high = qsparse.Fisher().score(weights, squares=squares.astype(np.float32))[
        0, 0
    ]
    assert high == pytest.approx(2 * low) and low > 0


# --- Wanda ----------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.25, 0.5, 0.7])
def test_wanda_compares_the_weights_of_an_output(share):
    weights = normal(2, 6, 5)
    weights[..., 0] *= 100  # would keep everything, were outputs compared
    norms = np.abs(normal(2, 6, 1, seed=1))
    scores = qsparse.Wanda().score(weights, activations=norms, tile=(1, 1))
    mask = Unstructured().mask(scores, share)
    pruned = int(np.floor(share * 60 + 0.5))
    assert np.count_nonzero(~mask) == pruned
    for output in range(5):
        own = {
            (t, i): abs(float(weights[t, i, output])) * float(norms[t, i, 0])
            for t, i in itertools.product(range(2), range(6))
        }
        order = sorted(own, key=own.__getitem__)
        gone = {index for index in own if not mask[(*index, output)]}
        assert gone == set(order[: len(gone)])
        assert len(gone) in (pruned // 5, -(-pruned // 5))


def test_wanda_of_tiles_sums_products():
    weights, norms = normal(2, 8, 8), np.abs(normal(2, 8, 1, seed=1))
    scores = qsparse.Wanda().score(weights, activations=norms, tile=(4, 4))
    for t, i, o in np.ndindex(weights.shape):
        expected = abs(float(weights[t, i, o])) * float(norms[t, i, 0])
        assert scores[t, i, o] == pytest.approx(expected, rel=1e-6)


def test_wanda_ranks_ties_by_index():
    weights = np.ones((1, 4, 2), np.float32)
    weights[0, 2] = 2.0
    scores = qsparse.Wanda().score(weights, activations=np.ones((1, 4, 1)), tile=(1, 1))
    np.testing.assert_array_equal(scores[0], [[2, 2], [1, 1], [3, 3], [0, 0]])


# --- Block Fisher ---------------------------------------------------------------------


def block_fisher(weights, gradients, block, damp, tile):
    """Return the score of each tile: every F written out and inverted."""
    taps, inputs, outputs = weights.shape
    out, inp = tile
    per_block = max(block // (out * inp), 1)
    scores = np.zeros((taps, inputs // inp, outputs // out))
    for o in range(outputs // out):
        places = [(t, i) for t in range(taps) for i in range(inputs // inp)]
        for start in range(0, len(places), per_block):
            chosen = places[start : start + per_block]
            members = [
                [
                    (t, i * inp + b, o * out + a)
                    for a, b in itertools.product(range(out), range(inp))
                ]
                for t, i in chosen
            ]
            flat = [index for tile_of in members for index in tile_of]
            fisher = damp * np.eye(len(flat))
            for gradient in gradients:
                g = np.array([float(gradient[index]) for index in flat])
                fisher += np.outer(g, g) / len(gradients)
            inverse = np.linalg.inv(fisher)
            for place, own in zip(chosen, members, strict=True):
                at = [flat.index(index) for index in own]
                w = np.array([float(weights[index]) for index in own])
                part = np.linalg.inv(inverse[np.ix_(at, at)])
                scores[(*place, o)] = w @ part @ w / 2
    return scores


@pytest.mark.parametrize(
    ("shape", "block", "tile"),
    [
        ((1, 24, 6), 8, (1, 1)),
        ((3, 10, 4), 7, (1, 1)),  # over taps, and the last block is short
        ((1, 6, 3), 50, (1, 1)),  # one block that is not full
        ((2, 12, 8), 32, (4, 4)),
        ((2, 12, 8), 5, (4, 4)),  # blocks of a single tile
        ((1, 16, 4), 20, (2, 4)),
    ],
)
@pytest.mark.parametrize("count", [3, 40])
def test_block_fisher(shape, block, tile, count):
    weights, gradients = normal(*shape), normal(count, *shape, seed=1) * 1e-2
    damp = 1e-6
    scores = qsparse.BlockFisher(block, damp).score(
        weights, batch_gradients=gradients, tile=tile
    )
    assert scores.shape == shape
    np.testing.assert_allclose(
        tile_sums(scores, tile),
        block_fisher(weights, gradients, block, damp, tile),
        rtol=1e-5,
    )


def test_block_fisher_in_parts_is_the_same(monkeypatch):
    weights, gradients = normal(2, 12, 8), normal(9, 2, 12, 8, seed=1)
    criterion = qsparse.BlockFisher(16)
    whole = criterion.score(weights, batch_gradients=gradients, tile=(4, 2))
    monkeypatch.setattr(block_fisher_module, "_AT_ONCE", 1)
    parts = criterion.score(weights, batch_gradients=gradients, tile=(4, 2))
    np.testing.assert_array_equal(whole, parts)


def test_block_fisher_of_single_weights_is_the_diagonal():
    """A block of one: F is a number, `damp` plus the mean square."""
    weights, gradients = normal(1, 8, 4), normal(5, 1, 8, 4, seed=1)
    scores = qsparse.BlockFisher(1, 1e-9).score(
        weights, batch_gradients=gradients, tile=(1, 1)
    )
    squares = np.square(gradients).sum(axis=0)
    diagonal = qsparse.Fisher().score(weights, squares=squares)
    np.testing.assert_allclose(scores, diagonal / 5, rtol=1e-5)


@pytest.mark.parametrize("seed", range(12))
def test_a_tile_costs_at_least_its_dearest_weight(seed):
    """To lose all of a tile costs no less than to lose one of its weights."""
    rng = np.random.default_rng(seed)
    block, count = int(rng.choice([1, 2])), int(rng.integers(1, 6))
    weights = rng.normal(size=(1, 4, 2)).astype(np.float32)
    gradients = rng.normal(size=(count, 1, 4, 2)).astype(np.float32)
    given_ = {"batch_gradients": gradients}
    whole = qsparse.BlockFisher(4, 1e-3).score(weights, tile=(1, 4), **given_)
    single = qsparse.BlockFisher(4, 1e-3).score(weights, tile=(1, 1), **given_)
    assert (whole.sum(axis=1) >= single.max(axis=1) * (1 - 1e-6)).all()
    # With fewer neighbours to make up for it, a weight costs more.
    smaller = qsparse.BlockFisher(block, 1e-3).score(weights, tile=(1, 1), **given_)
    assert (smaller >= single * (1 - 1e-6)).all()


# --- All of them ----------------------------------------------------------------------


def test_random_masks_of_growing_sparsity_are_nested():
    scores = qsparse.Random().score(np.zeros((2, 16, 8)), path="a")
    for pattern, final in (
        (Unstructured(), 0.9),
        (Block((4, 4)), 0.7),
        (NM(1, 4), 0.75),
    ):
        masks = [pattern.mask(scores, final * k / 9) for k in range(1, 10)]
        for less, more in itertools.pairwise(masks):
            assert (less >= more).all(), pattern


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("seed", range(10))
def test_patterns_take_negative_scores(seed, tied):
    """As movement has them: masks are those of the oracle, wherever zero lies."""
    rng = np.random.default_rng(seed)
    sparsity = rng.uniform(0.05, 0.74)
    scores = rng.normal(size=(2, 8, 8)) - 1.0
    scores = np.round(scores if tied else scores * 1e3).astype(np.float32)
    np.testing.assert_array_equal(
        Unstructured().mask(scores, sparsity),
        oracles.unstructured_mask(scores, sparsity, spare=True),
    )
    np.testing.assert_array_equal(
        Block((4, 2)).mask(scores, sparsity),
        oracles.block_mask(scores, (4, 2), sparsity, spare=True),
    )
    for n, m, block in ((1, 4, (1, 1)), (1, 4, (2, 2))):
        np.testing.assert_array_equal(
            NM(n, m, block).mask(scores, sparsity),
            oracles.nm_mask(scores, n, m, block, sparsity),
        )


@pytest.mark.parametrize("name", sorted(CRITERIA.classes))
def test_criteria_survive_json(name):
    criterion = CRITERIA.get(name)
    text = json.dumps(CRITERIA.to_dict(criterion))
    assert CRITERIA.get(json.loads(text)) == criterion


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: qsparse.Random(-1), "seed >= 0. Received: seed=-1"),
        (lambda: qsparse.Random(0.5), "`seed` must be an integer"),
        (lambda: qsparse.Fisher("steps"), "source out of.*'data', 'optimizer'"),
        (lambda: qsparse.BlockFisher(0), "block >= 1.*block=0"),
        (lambda: qsparse.BlockFisher(damp=0.0), "damp > 0.*damp=0.0"),
    ],
)
def test_settings_out_of_range(make, message):
    with pytest.raises(ValueError, match=message):
        make()
