"""Which weights stay: against oracles that make every inverse anew."""

import numpy as np
import pytest

from qsparse.methods.formats import Int8
from qsparse.methods.patterns import NM, Block, Unstructured
from qsparse.oneshot import OBS, ONE_SHOT, OneShotMagnitude, SparseGPT
from qsparse.oneshot.gram_score import gram_scores
from tests.qsparse.oneshot import oracles
from tests.qsparse.oneshot.problems import layer, plan

PATTERNS = {
    "2:4": (NM(2, 4), None),
    "1:2 of 2x2": (NM(1, 2, (2, 2)), None),
    "2x2": (Block((2, 2)), 0.5),
    "1x4": (Block((1, 4)), 0.7),
    "unstructured": (Unstructured(), 0.6),
}


def rows(problem, mask):
    return problem.rows(mask)


@pytest.mark.parametrize("seed", range(3))
def test_obs_of_groups_goes_step_by_step_as_brute_force_does(seed):
    made = layer(seed, (2, 8, 3), dead=seed)
    mask = rows(made.problem, OBS().mask(made.problem, plan(NM(2, 4))))
    h = oracles.damped(made.inputs)

    def allowed(gone, t):
        return sum(g // 4 == t // 4 for g in gone) < 2

    for row, w in zip(mask, made.problem.weights, strict=True):
        order = oracles.obs_order([w], h, 1, allowed)
        assert {j for j, _ in order} == set(np.flatnonzero(~row))


@pytest.mark.parametrize(
    ("pattern", "share"), [(Block((2, 2)), 0.5), (Unstructured(), 0.6)]
)
@pytest.mark.parametrize("memory", [1, 1 << 24], ids=["row by row", "at once"])
def test_obs_takes_the_cheapest_steps_of_all_rows(pattern, share, memory):
    made = layer(5, (1, 10, 4), memory=memory)
    mask = rows(made.problem, OBS().mask(made.problem, plan(pattern, share)))
    h = oracles.damped(made.inputs)
    outputs, inputs = pattern.tile
    steps = []
    for r in range(4 // outputs):
        own = made.problem.weights[r * outputs : (r + 1) * outputs]
        last = 10 // inputs - 1
        order = oracles.obs_order(own, h, inputs, lambda gone, t, n=last: len(gone) < n)
        highest = 0.0
        for step, (t, added) in enumerate(order):
            highest = max(highest, added)
            steps.append((highest, step, r, t))
    goal = int(np.floor(share * mask.size / outputs / inputs + 0.5))
    expected = np.ones(mask.shape, bool)
    for _, _, r, t in sorted(steps)[:goal]:
        at = slice(r * outputs, (r + 1) * outputs)
        expected[at, t * inputs : (t + 1) * inputs] = False
    np.testing.assert_array_equal(mask, expected)


@pytest.mark.parametrize("group", [2, 4])
def test_the_sweep_of_groups_is_that_of_the_paper(group):
    made = layer(2, (1, 16, 5), dead=2)
    pattern = NM(group // 2, group)
    mask = rows(made.problem, SparseGPT().mask(made.problem, plan(pattern)))
    h = oracles.damped(made.inputs)
    expected = oracles.sweep_mask(made.problem.weights, h, group, group // 2)
    np.testing.assert_array_equal(mask, expected)
    at_once = np.abs(made.problem.weights).reshape(5, -1, group)
    by_magnitude = at_once.argsort(axis=2).argsort(axis=2) >= group - group // 2
    assert (expected.reshape(at_once.shape) != by_magnitude).any()


def test_blocks_of_columns_share_zeros_and_follow_those_before():
    """Of two blocks, the second is scored as dropping the first has moved it."""
    made = layer(3, (1, 8, 6))
    method = SparseGPT(width=4)
    mask = rows(made.problem, method.mask(made.problem, plan(Unstructured(), 0.5)))
    w, h = made.problem.weights.copy(), oracles.damped(made.inputs)
    for start in (0, 4):
        score = np.zeros((6, 4))
        for k in range(4):
            ahead = np.linalg.inv(h[start + k :, start + k :])
            score[:, k] = w[:, start + k] ** 2 / ahead[0, 0]
        kept = score > np.sort(score, axis=None)[11]
        np.testing.assert_array_equal(mask[:, start : start + 4], kept)
        for k in range(4):
            inverse = np.linalg.inv(h[start + k :, start + k :])
            drop = np.where(kept[:, k], 0.0, w[:, start + k]) / inverse[0, 0]
            w[:, start + k :] -= drop[:, None] * inverse[0]


def test_a_tile_costs_what_its_weights_cost_together():
    """The last tile of the sweep has nothing behind it that could follow."""
    made = layer(4, (1, 4, 2))
    h = oracles.damped(made.inputs)
    mask = rows(made.problem, SparseGPT().mask(made.problem, plan(Block((2, 2)), 0.5)))
    w = made.problem.weights
    first = sum(oracles.cost(row, h, [2, 3]) for row in w)
    second = sum(row[2:] @ h[2:, 2:] @ row[2:] for row in w)
    assert mask[0, 0] == (first > second)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", sorted(PATTERNS))
@pytest.mark.parametrize("method", [OBS(), SparseGPT(), SparseGPT(width=8)], ids=str)
def test_counts_are_those_of_the_pattern(seed, name, method):
    pattern, share = PATTERNS[name]
    made = layer(seed, (3, 8, 4), samples=7, dead=2 * seed)
    layers_plan = plan(pattern, share)
    mask = method.mask(made.problem, layers_plan)
    scores = np.random.default_rng(seed).random((3, 8, 4))
    assert mask.sum() == pattern.mask(scores, layers_plan.sparsity).sum()
    # It is a mask of the pattern: the pattern leaves it alone.
    again = pattern.mask(mask.astype(float), layers_plan.sparsity)
    np.testing.assert_array_equal(again, mask)
    assert mask.any(axis=(0, 1)).all()


@pytest.mark.parametrize("method", [OBS(), SparseGPT()])
def test_without_data_small_weights_go_first(method):
    made = layer(1, (1, 16, 4))
    blind = type(made.problem)(made.problem.weights, 0 * made.problem.gram, (1, 16, 4))
    for pattern, share in PATTERNS.values():
        if pattern.tile == (1, 1):
            mask = method.mask(blind, plan(pattern, share))
            magnitude = OneShotMagnitude().mask(blind, plan(pattern, share))
            np.testing.assert_array_equal(mask, magnitude)


@pytest.mark.parametrize("method", [OBS(), SparseGPT()])
def test_a_pattern_that_names_no_tiles_is_scored_once(method):
    class Plain:
        def mask(self, scores, sparsity):
            return scores > np.quantile(scores, sparsity)

        def final_sparsity(self, sparsity):
            return sparsity

    made = layer(1, (1, 12, 4))
    mask = method.mask(made.problem, plan(Plain(), 0.5))
    h = oracles.damped(made.inputs)
    for r, w in enumerate(made.problem.weights):
        for j in range(12):
            alone = oracles.cost(w, h, [k for k in range(12) if k != j])
            assert np.isclose(gram_scores(made.problem)[0, j, r], alone)
    assert mask.sum() == 24


def test_what_is_no_method_is_told_what_is():
    with pytest.raises(ValueError, match="'magnitude', 'obs', 'sparsegpt'"):
        ONE_SHOT.get("obc")
    with pytest.raises(ValueError, match="`width` must be positive"):
        SparseGPT(width=0)


def test_int8_is_no_part_of_a_mask():
    made = layer(1, (1, 12, 4))
    both = [plan(NM(2, 4), None, format) for format in (None, Int8())]
    masks = [OBS().mask(made.problem, one) for one in both]
    np.testing.assert_array_equal(*masks)
