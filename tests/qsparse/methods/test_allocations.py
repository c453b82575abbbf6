"""Allocations: totals that hold, against oracles written from the formulas."""

import json
import math
from fractions import Fraction

import numpy as np
import pytest

from qsparse import (
    ERK,
    LAMP,
    NM,
    Block,
    Global,
    Recipe,
    Sensitivity,
    Uniform,
    UniformPlus,
    Unstructured,
)
from qsparse.methods.allocations import Kernel
from qsparse.methods.patterns import capacity, unit_scores

POINTS = (0.5, 0.75, 0.9)


SEEDS = pytest.mark.parametrize("seed", range(40))


def drawn(seed, fixed=False):
    """Draw kernels of several patterns, with distinct scores, and a sparsity."""
    random = np.random.default_rng(seed)
    sparsity = float(random.choice([0.0, random.uniform(0, 0.98)], p=[0.05, 0.95]))
    return kernels_of(random, fixed), sparsity


def kernels_of(random, fixed):
    found = []
    for index in range(random.integers(1, 6)):
        window = [(), (3,), (3, 3)][random.integers(3)]
        inputs, outputs = (int(n) for n in random.choice([8, 16, 24], 2))
        choices = [Unstructured(), Block((4, 4)), Block((2, 8))]
        choices += [NM(2, 4), NM(1, 8)] * fixed
        pattern = choices[random.integers(len(choices))]
        shape = (math.prod(window), inputs, outputs)
        if pattern.misfit(shape):
            pattern = Unstructured()
        unit, most, given = capacity(pattern, shape)
        scores = random.exponential(random.uniform(0.2, 3), shape)
        units = None if given is not None else unit_scores(pattern, scores)
        found.append(
            Kernel(
                f"layer{index}",
                shape,
                (*window, inputs, outputs),
                unit,
                most,
                given,
                lambda units=units: units,
            )
        )
    return found


def measured(kernels, seed=0):
    """Return numbers for every layer, as a measurement brings them."""
    random = np.random.default_rng(seed)
    return Sensitivity(
        tuple(
            (k.path, tuple(zip(POINTS, random.normal(0.1, 0.2, 3), strict=True)))
            for k in kernels
        )
    )


def allocations(kernels):
    return [UniformPlus(), ERK(), ERK(False), Global(), LAMP(), measured(kernels)]


def zeros_of(kernels, shares):
    """Return the zeros that masks of these shares have, exactly."""
    total = Fraction(0)
    for kernel, share in zip(kernels, shares, strict=True):
        count = kernel.weights // kernel.unit
        if kernel.fixed is None:
            total += math.floor(share * count + 0.5) * kernel.unit
        else:
            total += Fraction(share).limit_denominator(64) * kernel.weights
    return total


def limits(allocation, kernels):
    """Return the largest sparsity of each kernel under an allocation."""
    most = [k.most if k.fixed is None else k.fixed for k in kernels]
    if isinstance(allocation, UniformPlus):
        if kernels[-1].fixed is None:
            most[-1] = min(most[-1], 1 - allocation.last)
        if kernels[0].fixed is None:
            most[0] = 0.0
    return most


@SEEDS
def test_the_total_holds_within_a_unit_a_layer(seed):
    kernels, sparsity = drawn(seed, fixed=True)
    weights = sum(k.weights for k in kernels)
    given_ = sum(k.fixed * k.weights for k in kernels if k.fixed is not None)
    for allocation in allocations(kernels):
        shares = allocation.allocate(kernels, sparsity)
        most = limits(allocation, kernels)
        reach = sum(m * k.weights for m, k in zip(most, kernels, strict=True))
        wanted = min(max(sparsity * weights, given_), reach)
        near = sum(k.unit for k in kernels)
        assert abs(zeros_of(kernels, shares) - wanted) <= near + 1e-6, allocation
        for kernel, share, limit in zip(kernels, shares, most, strict=True):
            assert -1e-12 <= share <= limit + 1e-12
            assert kernel.fixed is None or share == kernel.fixed


@SEEDS
def test_shares_that_are_solved_hold_the_total_to_the_last_bits(seed):
    kernels, sparsity = drawn(seed)
    weights = sum(k.weights for k in kernels)
    for allocation in (UniformPlus(), ERK(), measured(kernels)):
        most = limits(allocation, kernels)
        reach = sum(m * k.weights for m, k in zip(most, kernels, strict=True))
        shares = allocation.allocate(kernels, sparsity)
        zeros = sum(s * k.weights for s, k in zip(shares, kernels, strict=True))
        wanted = min(sparsity * weights, reach)
        assert zeros == pytest.approx(wanted, rel=1e-9, abs=1e-6)


@SEEDS
def test_shares_grow_with_the_sparsity(seed):
    kernels, one = drawn(seed, fixed=True)
    other = min(one + 0.01, 0.99) if seed % 2 else seed / 40
    low, high = sorted((one, other))
    for allocation in allocations(kernels):
        pairs = zip(
            allocation.allocate(kernels, low),
            allocation.allocate(kernels, high),
            strict=True,
        )
        assert all(a <= b + 1e-9 for a, b in pairs), allocation


@SEEDS
def test_shares_move_with_their_layers(seed):
    kernels, sparsity = drawn(seed, fixed=True)
    order = np.random.default_rng(seed).permutation(len(kernels))
    moved = [kernels[i] for i in order]
    for allocation in allocations(kernels):
        if isinstance(allocation, UniformPlus):  # The first and the last are its own.
            continue
        shares = allocation.allocate(kernels, sparsity)
        again = allocation.allocate(moved, sparsity)
        expected = [shares[i] for i in order]
        assert again == pytest.approx(expected, abs=1e-9), allocation


@SEEDS
def test_erk_is_the_epsilon_that_bisection_finds(seed):
    (kernels, sparsity), window = drawn(seed), seed % 2 == 0

    def density(kernel, epsilon):
        dims = kernel.dims if window else kernel.shape[1:]
        raw = epsilon * sum(dims) / math.prod(dims)
        return min(1.0, max(raw, 1.0 - kernel.most))

    kept = (1.0 - sparsity) * sum(k.weights for k in kernels)
    low, high = 0.0, 1e6
    for _ in range(200):
        middle = (low + high) / 2
        held = sum(density(k, middle) * k.weights for k in kernels)
        low, high = (middle, high) if held < kept else (low, middle)
    shares = ERK(window).allocate(kernels, sparsity)
    expected = [1.0 - density(k, high) for k in kernels]
    assert shares == pytest.approx(expected, abs=1e-7)


def test_erk_leaves_small_layers_dense_and_the_others_take_over():
    small = Kernel("a", (9, 3, 8), (3, 3, 3, 8))
    large = Kernel("b", (1, 64, 64), (64, 64))
    shares = ERK().allocate([small, large], 0.5)
    assert shares[0] == 0.0
    assert shares[1] == pytest.approx(0.5 * (216 + 4096) / 4096)


def row_of(kernels, scored):
    """Return (score per weight, minus the layer, unit) of all that may go, sorted."""
    row = []
    for index, kernel in enumerate(kernels):
        scores = scored(kernel.scores())
        for column in range(scores.shape[1]):
            best = int(np.argmax(kernel.scores()[:, column]))
            row += [
                (scores[i, column] / kernel.unit, -index, kernel.unit)
                for i in range(scores.shape[0])
                if i != best
            ]
    return sorted(row)


def cut(kernels, row, sparsity):
    """Return the shares of the cut that is nearest to the total."""
    wanted = sparsity * sum(k.weights for k in kernels)
    zeros, gone = 0, [0] * len(kernels)
    for _, minus, unit in row:
        if zeros + unit / 2 > wanted:
            break
        zeros += unit
        gone[-minus] += unit
    return [n / k.weights for n, k in zip(gone, kernels, strict=True)]


@SEEDS
def test_global_is_to_sort_everything_and_cut(seed):
    kernels, sparsity = drawn(seed)
    expected = cut(kernels, row_of(kernels, lambda scores: scores), sparsity)
    assert Global().allocate(kernels, sparsity) == expected


@SEEDS
def test_ties_go_from_the_last_layer_on(seed):
    (kernels, sparsity), values = drawn(seed), 2 + seed % 3
    tied = [
        k._replace(
            scores=lambda k=k: np.ceil(k.scores() / k.unit * 2) % values * k.unit
        )
        for k in kernels
    ]
    expected = cut(tied, row_of(tied, lambda scores: scores), sparsity)
    assert Global().allocate(tied, sparsity) == expected


def adapted(scores):
    """Return LAMP's scores by a loop over all pairs."""
    flat = [float(s) ** 2 for s in scores.reshape(-1)]
    found = []
    for mine in flat:
        total = sum(other for other in flat if other >= mine)
        found.append(mine / total if total else 0.0)
    return np.array(found).reshape(scores.shape)


@SEEDS
def test_lamp_is_the_naive_loop(seed):
    random, tied = np.random.default_rng(seed), seed % 2 == 1
    sparsity = random.uniform(0, 0.98)
    kernels = []
    for index, (inputs, outputs) in enumerate([(8, 3), (12, 4), (5, 2)]):
        scores = random.exponential(index + 1.0, (inputs, outputs))
        scores = np.round(scores) if tied else scores
        shape, most = (1, inputs, outputs), 1 - 1 / inputs
        kernels.append(
            Kernel(str(index), shape, shape, 1, most, scores=lambda s=scores: s)
        )
    weights = sum(k.weights for k in kernels)
    shares = LAMP().allocate(kernels, sparsity)
    gone = [round(s * k.weights) for s, k in zip(shares, kernels, strict=True)]
    row = row_of(kernels, adapted)
    assert sum(gone) == min(math.floor(sparsity * weights + 0.5), len(row))
    # Sums of floats in another order may swap what is equal but for the last bits.
    border = row[max(sum(gone) - 1, 0)][0]
    for index, count in enumerate(gone):
        mine = np.array([score for score, minus, _ in row if -minus == index])
        assert (mine < border * (1 - 1e-9)).sum() <= count
        assert count <= (mine <= border * (1 + 1e-9)).sum()


def test_lamp_counts_all_that_are_not_smaller():
    """4 / (3 * 4 + 81) comes before 1 / (1 + 4.6^2); 4 / (4 + 81) would not."""
    tied = np.array([[2.0], [2.0], [2.0], [9.0]])
    other = np.array([[1.0], [4.6]])
    kernels = [
        Kernel("a", (1, 4, 1), (4, 1), 1, 0.75, scores=lambda: tied),
        Kernel("b", (1, 2, 1), (2, 1), 1, 0.5, scores=lambda: other),
    ]
    assert LAMP().allocate(kernels, 1 / 6) == [0.25, 0.0]


def test_lamp_of_a_layer_without_any_weight():
    zero = Kernel("a", (1, 4, 2), (4, 2), 1, 0.75, scores=lambda: np.zeros((4, 2)))
    other = zero._replace(path="b", scores=lambda: np.ones((4, 2)))
    assert LAMP().allocate([other, zero], 6 / 16) == [0.0, 0.75]


def test_no_scores_yet_means_equal_shares():
    kernels = [Kernel("a", (1, 8, 8), (8, 8)), Kernel("b", (1, 16, 8), (16, 8))]
    kernels.append(Kernel("c", (1, 8, 8), (8, 8), 4, 0.5, 0.5))
    wanted = (0.75 * 256 - 32) / 192
    for allocation in (Global(), LAMP()):
        shares = allocation.allocate(kernels, 0.75)
        assert shares == pytest.approx([wanted, wanted, 0.5])


def test_uniform_gives_every_layer_the_same():
    kernels = [Kernel("a", (1, 8, 8), (8, 8), 1, 0.5), Kernel("b", (1, 8, 4), (8, 4))]
    assert Uniform().allocate(kernels, 0.75) == [0.75, 0.75]
    kernels[0] = kernels[0]._replace(fixed=0.5)
    assert Uniform().allocate(kernels, 0.75) == [0.5, 0.75]


def test_uniform_plus_spares_the_first_and_the_last():
    kernels = [Kernel(name, (1, 10, 10), (10, 10)) for name in "abcd"]
    assert UniformPlus().allocate(kernels, 0.6) == pytest.approx([0, 0.8, 0.8, 0.8])
    shares = UniformPlus().allocate(kernels, 0.65)
    assert shares == pytest.approx([0, 0.9, 0.9, 0.8])
    shares = UniformPlus(0.5).allocate(kernels, 0.6)
    assert shares == pytest.approx([0, 0.95, 0.95, 0.5])


def harm(kernels, curves, shares):
    """Return the sum of the layers' costs, by the lines between their points."""
    total = 0.0
    for kernel, share in zip(kernels, shares, strict=True):
        points = [(0.0, 0.0), *curves[kernel.path]]
        total += np.interp(share, *zip(*points, strict=True))
    return total


@SEEDS
def test_no_other_shares_do_less_harm(seed):
    """Along convex curves there is no better place than the one found."""
    random = np.random.default_rng(seed)
    sparsity = random.uniform(0.05, 0.85)
    kernels, curves = [], {}
    for path in "abc":
        outputs = int(random.choice([10, 20, 40]))
        kernels.append(Kernel(path, (1, 100, outputs), (100, outputs)))
        slopes = np.sort(random.exponential(1.0, 3))
        costs = np.cumsum(slopes * np.diff((0.0, *POINTS)))
        curves[path] = tuple(zip(POINTS, costs, strict=True))
    shares = Sensitivity(tuple(curves.items())).allocate(kernels, sparsity)
    least = harm(kernels, curves, shares)
    weights = np.array([k.weights for k in kernels])
    for _ in range(30):
        other = np.array(shares)
        a, b = random.choice(3, 2, replace=False)
        zeros = random.uniform(0, 300)
        other[a] += zeros / weights[a]
        other[b] -= zeros / weights[b]
        if 0 <= other.min() and other.max() <= POINTS[-1]:
            assert harm(kernels, curves, other) >= least - 1e-9


def test_what_was_not_measured_comes_last_and_in_proportion():
    kernels = [Kernel(name, (1, 10, 10), (10, 10)) for name in "ab"]
    costly = Sensitivity((("a", ((0.5, 0.0),)), ("b", ((0.8, 9.0),))))
    assert costly.allocate(kernels, 0.25) == pytest.approx([0.5, 0.0])
    assert costly.allocate(kernels, 0.65) == pytest.approx([0.5, 0.8])
    # Densities 0.5 and 0.2 shrink by the same factor, 2/7.
    assert costly.allocate(kernels, 0.9) == pytest.approx([1 - 1 / 7, 1 - 0.4 / 7])


def test_layers_that_cost_the_same_go_together():
    kernels = [Kernel(name, (1, 10, 10), (10, 10)) for name in "ab"]
    free = Sensitivity((("a", ((0.5, -1.0),)), ("b", ((0.8, 0.0),))))
    shares = free.allocate(kernels, 0.325)
    assert shares == pytest.approx([0.25, 0.4])


def test_a_layer_that_was_not_measured_is_named():
    kernels = [Kernel(name, (1, 10, 10), (10, 10)) for name in "ab"]
    with pytest.raises(ValueError, match="no numbers of 'b'; it has them of 'a'"):
        Sensitivity((("a", ((0.5, 1.0),)),)).allocate(kernels, 0.5)


@pytest.mark.parametrize(
    "curves",
    [
        (),
        "abc",
        3,
        (("a", 5),),
        (("a", ((0.5, 1.0),)), ("a", ((0.5, 1.0),))),
    ],
)
def test_curves_that_are_none(curves):
    with pytest.raises(ValueError, match="Sensitivity needs `curves`"):
        Sensitivity(curves)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ((), "in \\(0, 1\\), each once, for 'a'"),
        (((0.0, 1.0),), "in \\(0, 1\\)"),
        (((1.0, 1.0),), "in \\(0, 1\\)"),
        (((0.5, 1.0), (0.5, 2.0)), "each once"),
        (((0.5, math.nan),), "`curves of 'a'` must be a finite number"),
    ],
)
def test_points_that_are_none(points, message):
    with pytest.raises(ValueError, match=message):
        Sensitivity((("a", points),))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: UniformPlus(1.5), "last=1.5"),
        (lambda: UniformPlus("x"), "`last` must be a finite number"),
        (lambda: ERK(kernel=3), "kernel=3"),
    ],
)
def test_settings_that_are_wrong(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    "allocation",
    [
        "uniform+",
        "erk",
        "global",
        "lamp",
        UniformPlus(0.1),
        ERK(False),
        Sensitivity((("b/c", ((0.9, 2.0), (0.5, np.float32(0.25)))),)),
    ],
)
def test_allocations_survive_json(allocation):
    recipe = Recipe(allocation=allocation)
    again = Recipe.from_dict(json.loads(json.dumps(recipe.to_dict())))
    assert again == recipe and hash(again.allocation) == hash(recipe.allocation)


@pytest.mark.parametrize("pattern", [Unstructured(), Block((4, 4)), Block((2, 8))])
@pytest.mark.parametrize("sparsity", [0.01, 0.3, 0.77, 0.95, 0.999])
def test_the_capacity_of_a_pattern_is_what_its_masks_have(pattern, sparsity):
    shape = (3, 16, 8)
    scores = np.random.default_rng(5).random(shape)
    unit, most, fixed = capacity(pattern, shape)
    assert fixed is None
    zeros = np.count_nonzero(~pattern.mask(scores, sparsity))
    wanted = math.floor(sparsity * (384 // unit) + 0.5) * unit
    assert zeros == min(wanted, round(most * 384))
    units = unit_scores(pattern, scores)
    assert units.size * unit == 384
    assert units.sum() == pytest.approx(scores.sum())
    assert 1 - units.shape[1] / units.size == pytest.approx(most)


def test_the_capacity_of_nm_is_fixed():
    assert capacity(NM(1, 4, (4, 4)), (1, 32, 8)) == (64, 0.75, 0.75)


def test_a_pattern_from_outside_is_taken_for_weight_by_weight():
    class Own:
        pass

    assert capacity(Own(), (2, 4, 3)) == (1, 1 - 1 / 8, None)
    scores = np.arange(24.0).reshape(2, 4, 3)
    np.testing.assert_array_equal(unit_scores(Own(), scores), scores.reshape(8, 3))
