"""The best weights for a mask, in float and on a grid."""

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from qsparse.methods.criteria import Magnitude
from qsparse.methods.formats import Int8
from qsparse.methods.patterns import NM, Block, Unstructured
from qsparse.oneshot import OBS, OneShotMagnitude, SparseGPT
from qsparse.oneshot.choice import solve
from qsparse.oneshot.grid import settled
from qsparse.oneshot.refit import refit
from tests.qsparse.oneshot import oracles
from tests.qsparse.oneshot.problems import layer, plan


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("together", [1, 2, 4])
@pytest.mark.parametrize("memory", [1, 1 << 14, 1 << 24])
def test_kept_weights_solve_the_least_squares_problem(seed, together, memory):
    made = layer(seed, (2, 6, 8), samples=9, dead=seed % 3, memory=memory)
    rng = np.random.default_rng(seed)
    mask = (rng.random((8 // together, 12)) < 0.6).repeat(together, axis=0)
    (found,) = refit(made.problem, mask, together)
    h = oracles.damped(made.inputs)
    for values, kept, w in zip(found, mask, made.problem.weights, strict=True):
        expected = oracles.best(w, h, list(np.flatnonzero(kept)))
        np.testing.assert_allclose(values, expected, rtol=1e-7, atol=1e-9)
        assert (values[~kept] == 0).all()


@pytest.mark.parametrize("pruned", [False, True])
def test_rounding_is_gptq_on_the_columns_that_are_kept(pruned):
    made = layer(11, (1, 80, 4), samples=200)
    mask = np.ones((4, 80), bool)
    if pruned:
        mask[:, ::3] = False
        mask[1, 1::3] = False
    solution, found = refit(made.problem, mask, 1 if pruned else 4, Int8())
    h = oracles.damped(made.inputs)
    order = np.argsort(np.diag(made.problem.gram), kind="stable")[::-1]
    for r, w in enumerate(made.problem.weights):
        kept = np.flatnonzero(mask[r])
        start = oracles.best(w, h, list(kept))
        np.testing.assert_allclose(solution[r], start, rtol=1e-6, atol=1e-9)
        scale = np.float64(np.abs(start).max().astype(np.float32) / np.float32(127))
        anchor = int(np.abs(start).argmax())

        def to_grid(j, value, anchor=anchor, start=start, scale=scale):
            if j == anchor:
                return np.sign(start[anchor]) * 127 * scale
            return np.clip(np.rint(value / scale), -127, 127) * scale

        expected = oracles.gptq(start, h, [j for j in order if mask[r, j]], to_grid)
        np.testing.assert_allclose(found[r], expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("spread", [-30, -3.7, 0, 0.5, 12, 30])
def test_what_has_settled_is_on_its_own_grid(spread):
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(2, 9, 500)) * np.exp(spread)
    weights[..., 0] = 0
    found = settled(Int8(), weights)
    np.testing.assert_array_equal(Int8().decode(*Int8().encode(found)), found)
    np.testing.assert_array_equal(Int8().fake(found), found)
    step = np.abs(weights).max(axis=(0, 1)) / 127
    assert (np.abs(found - weights) <= step * 0.501).all()


def test_a_format_that_never_rests_is_refused():
    class Restless(Int8):
        def decode(self, codes, scale):
            return super().decode(codes, scale) * np.float32(0.5)

    with pytest.raises(ValueError, match="again and again"):
        settled(Restless(), np.ones((1, 2, 2)))


CASES = {
    "2:4": (NM(2, 4), None),
    "1:4 of 2x2": (NM(1, 4, (2, 2)), None),
    "4x4": (Block((4, 4)), 0.5),
    "unstructured": (Unstructured(), 0.75),
    "dense": (None, None),
}


def error_of(made, values):
    """Return `||W X - W' X||^2 / ||W X||^2`, from the inputs themselves."""
    out = made.problem.weights @ made.inputs
    theirs = made.problem.rows(values.astype(np.float64)) @ made.inputs
    return ((out - theirs) ** 2).sum() / (out**2).sum()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("case", sorted(CASES))
@pytest.mark.parametrize("method", [OBS(), SparseGPT(), SparseGPT(width=4)], ids=str)
@pytest.mark.parametrize("format", [None, Int8()], ids=str)
@pytest.mark.parametrize("samples", [3, 20, 100])
def test_never_worse_than_magnitude(seed, case, method, format, samples):
    pattern, share = CASES[case]
    if pattern is None:
        format = Int8()
    made = layer(seed, (2, 8, 8), samples=samples, dead=seed % 4)
    layers_plan = plan(pattern, share, format)
    found = solve(made.problem, layers_plan, method)
    w = made.problem.canonical(made.problem.weights)
    mask = np.ones(w.shape, bool)
    if pattern is not None:
        mask = pattern.mask(Magnitude().score(w), layers_plan.sparsity)
        assert found.mask.sum() == mask.sum()
        assert (found.values[~found.mask] == 0).all()
        again = pattern.mask(found.mask.astype(float), layers_plan.sparsity)
        np.testing.assert_array_equal(again, found.mask)
    plain = (w * mask).astype(np.float32)
    if format is not None:
        plain = format.decode(*format.encode(plain))
        on_grid = format.fake(found.values)
        np.testing.assert_array_equal(on_grid, found.values)
    assert np.isclose(found.error, error_of(made, found.values), rtol=1e-3, atol=1e-9)
    assert found.error <= error_of(made, plain) * (1 + 1e-6) + 1e-12
    if format is None:
        h = oracles.damped(made.inputs)
        rows, kept = made.problem.weights, made.problem.rows(mask)
        best = [
            oracles.best(r, h, list(np.flatnonzero(k)))
            for r, k in zip(rows, kept, strict=True)
        ]
        optimal = error_of(made, made.problem.canonical(np.array(best)))
        assert found.error <= optimal * (1 + 1e-5) + 1e-9


@pytest.mark.parametrize("case", sorted(CASES))
def test_correlated_inputs_gain(case):
    """On 20 layers magnitude loses far more: the methods do something."""
    pattern, share = CASES[case]
    ratios = {"obs": [], "sparsegpt": []}
    for seed in range(20):
        made = layer(seed, (1, 16, 8), samples=100)
        one = plan(pattern, share, Int8())
        for name, method in (("obs", OBS()), ("sparsegpt", SparseGPT())):
            found = solve(made.problem, one, method)
            ratios[name].append(found.error / found.baseline)
    assert np.median(ratios["obs"]) < 0.7
    assert np.median(ratios["sparsegpt"]) < 0.7
    assert np.mean(ratios["obs"]) < np.mean(ratios["sparsegpt"]) * 1.05


def test_magnitude_is_magnitude_and_nothing_else():
    made = layer(1, (1, 16, 8))
    found = solve(made.problem, plan(NM(2, 4)), OneShotMagnitude())
    w = made.problem.canonical(made.problem.weights)
    np.testing.assert_array_equal(found.mask, NM(2, 4).mask(np.abs(w)))
    np.testing.assert_array_equal(found.values, (w * found.mask).astype(np.float32))
    assert found.error == found.baseline


def test_weights_of_dead_inputs_stay_where_they_are_kept():
    made = layer(1, (1, 16, 8))
    made.problem.gram[3], made.problem.gram[:, 3] = 0, 0
    (found,) = refit(made.problem, np.ones((8, 16), bool), 8)
    np.testing.assert_allclose(found, made.problem.weights, rtol=1e-8)
    mask = np.ones((8, 16), bool)
    mask[:, 5] = False
    (found,) = refit(made.problem, mask, 8)
    np.testing.assert_allclose(found[:, 3], made.problem.weights[:, 3], rtol=1e-8)


@pytest.mark.parametrize("together", [1, 4])
def test_small_systems_are_left_to_one_thread(together, monkeypatch):
    made, seen = layer(3, (1, 24, 4)), []
    factor = np.linalg.cholesky

    def threads():
        return {e["num_threads"] for e in threadpool_info() if e["user_api"] == "blas"}

    def cholesky(systems):
        seen.append(threads())
        return factor(systems)

    monkeypatch.setattr(np.linalg, "cholesky", cholesky)
    with threadpool_limits(2, user_api="blas"):
        refit(made.problem, np.ones((4, 24), bool), together)
        assert threads() == {2}
    assert seen == [{1} if together == 1 else {2}]
