"""Schedules against the blind oracle."""

import json
import math

import numpy as np
import pytest

from qsparse import (
    NM,
    Block,
    Constant,
    Cosine,
    Cubic,
    Linear,
    OneShot,
    Recipe,
    Sampled,
    SdGf,
    Stepwise,
)
from qsparse.methods.schedules import laid_on
from tests import oracles


@pytest.mark.parametrize("initial", [0.0, 0.4])
@pytest.mark.parametrize("begin, end", [(0, 100), (10, 47), (5, 5)])
def test_cubic(initial, begin, end):
    final = 0.75
    schedule = Cubic(initial=initial)
    for step in range(begin, 120):
        expected = oracles.cubic(step, begin, end, initial * final, final)
        assert schedule.sparsity(step, begin, end, final) == pytest.approx(expected)
    assert schedule.sparsity(end, begin, end, final) == final
    if begin:
        assert schedule.sparsity(begin - 1, begin, end, final) == 0.0


def test_refreshes_include_both_ends():
    steps = [s for s in range(50) if Cubic().refreshes(s, 10, 33, 10)]
    assert steps == [10, 20, 30, 33]
    assert [s for s in range(50) if OneShot().refreshes(s, 10, 33, 10)] == [10]


@pytest.mark.parametrize("schedule", [Constant(), OneShot()])
def test_at_once(schedule):
    assert schedule.sparsity(9, 10, 33, 0.5) == 0.0
    assert schedule.sparsity(10, 10, 33, 0.5) == 0.5


@pytest.mark.parametrize("settings", [{"initial": -0.1}, {"initial": 2}, {"power": 0}])
def test_cubic_rejects(settings):
    with pytest.raises(ValueError, match="Cubic needs"):
        Cubic(**settings)


EVERY = [
    Constant(),
    OneShot(),
    Cubic(0.1),
    Linear(),
    Linear(0.3),
    Cosine(),
    Cosine(0.3),
    Stepwise(),
    Stepwise(1),
    Stepwise(7),
    SdGf(),
    SdGf("geometric"),
    Sampled((0.0, 0.5, 0.5, 1.0)),
    Recipe(schedule=lambda progress: progress**2).schedule,
]


@pytest.mark.parametrize("schedule", EVERY, ids=repr)
@pytest.mark.parametrize("begin, end", [(0, 100), (10, 47), (5, 5), (3, 4)])
@pytest.mark.parametrize("final", [0.5, 0.9])
def test_every_schedule_rises_from_0_to_the_final_sparsity(schedule, begin, end, final):
    found = [schedule.sparsity(step, begin, end, final) for step in range(end + 20)]
    assert found[:begin] == [0.0] * begin
    assert found[end:] == [final] * 20
    assert all(a <= b + 1e-12 for a, b in zip(found, found[1:], strict=False))
    assert all(0.0 <= share <= final for share in found)


@pytest.mark.parametrize("schedule", EVERY, ids=repr)
@pytest.mark.parametrize("begin, end, every", [(0, 100, 7), (10, 47, 1), (5, 5, 3)])
def test_every_schedule_refreshes_within_its_phase(schedule, begin, end, every):
    steps = [s for s in range(end + 20) if schedule.refreshes(s, begin, end, every)]
    assert steps[0] == begin and steps[-1] <= end
    # What is selected last is the final sparsity.
    assert schedule.sparsity(steps[-1], begin, end, 0.75) == 0.75
    if not isinstance(schedule, OneShot):
        assert steps[-1] == end
        assert max(np.diff(steps), default=0) <= every


@pytest.mark.parametrize("initial", [0.0, 0.4])
def test_linear_and_cosine_are_their_formulas(initial):
    for step in range(10, 48):
        p = (step - 10) / 37
        line = 0.75 * (initial + (1 - initial) * p)
        assert Linear(initial).sparsity(step, 10, 47, 0.75) == pytest.approx(line)
        left = (1 + math.cos(math.pi * p)) / 2
        curve = 0.75 + (initial * 0.75 - 0.75) * left
        assert Cosine(initial).sparsity(step, 10, 47, 0.75) == pytest.approx(curve)


def test_stepwise_has_equal_steps_and_selects_where_they_begin():
    found = [Stepwise(4).sparsity(step, 10, 30, 0.8) for step in range(10, 31)]
    expected = [0.2] * 5 + [0.4] * 5 + [0.6] * 5 + [0.8] * 6
    assert found == pytest.approx(expected)
    steps = [s for s in range(50) if Stepwise(4).refreshes(s, 10, 30, 100)]
    assert steps == [10, 15, 20, 25, 30]
    # More steps than the phase has: each begins where the next one does.
    found = [Stepwise(8).sparsity(step, 0, 4, 0.8) for step in range(5)]
    assert found == pytest.approx([0.1, 0.3, 0.5, 0.7, 0.8])


def test_a_function_is_sampled():
    recipe = Recipe(schedule=lambda progress: math.sqrt(progress))
    schedule = recipe.schedule
    assert isinstance(schedule, Sampled) and len(schedule.shares) == 257
    for part in range(257):
        expected = 0.6 * math.sqrt(part / 256)
        assert schedule.sparsity(part, 0, 256, 0.6) == pytest.approx(expected)
    between = 0.6 * (math.sqrt(100 / 256) + math.sqrt(101 / 256)) / 2
    assert schedule.sparsity(201, 0, 512, 0.6) == pytest.approx(between)
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
    assert recipe == Recipe(schedule=math.sqrt) != Recipe(schedule=lambda p: p)


def test_what_rounding_missed_is_forgiven():
    schedule = Recipe(schedule=lambda p: p * (1 - 1e-9) - 1e-12).schedule
    assert schedule.shares[0] == 0.0 and schedule.shares[-1] == 1.0
    # numpy's numbers are numbers.
    assert Recipe(schedule=lambda p: np.float32(p)).schedule.shares[128] == 0.5


def fails(progress):
    raise KeyError("gone")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda p: p / 2, "ends at 1.*0.5 at progress 1. Divide"),
        (lambda p: 1 - p, "never falls.*1 at progress 0, then 0.99.* 0.00390625"),
        (lambda p: 2 * p - 1, r"in \[0, 1\]. Received: -1 at progress 0"),
        (lambda p: 1.5 * p, r"in \[0, 1\]. Received: 1.00"),
        (lambda p: math.nan, "must return a finite number.*nan at progress 0"),
        (lambda p: math.inf * (p > 0.5) if p > 0.5 else 0.0, "finite.*inf at progress"),
        (lambda p: "much", "must return a finite number.*'much'"),
        (lambda p: None, "must return a finite number.*None"),
        (lambda step, begin: 0.5, "fails at progress 0.*takes the progress"),
        (fails, "fails at progress 0: 'gone'"),
    ],
)
def test_a_function_that_is_no_schedule(function, message):
    with pytest.raises(ValueError, match=message):
        Recipe(schedule=function)


@pytest.mark.parametrize("schedule", [Sampled, Linear])
def test_a_class_is_no_function(schedule):
    with pytest.raises(ValueError, match="instance, not a class"):
        Recipe(schedule=schedule)
    with pytest.raises(ValueError, match="or a function of the progress"):
        Recipe(schedule="sqrt")


def names(schedule, pattern, shape=(1, 64, 4)):
    return [str(frame) for frame in schedule.frames(pattern, shape)]


def test_the_frames_of_sdgf():
    steps, groups = SdGf(), SdGf("geometric")
    assert names(steps, NM(1, 8)) == ["7:8", "4:8", "2:8", "1:8"]
    assert names(steps, NM(2, 4)) == ["3:4", "2:4"]
    assert names(steps, NM(1, 2)) == ["1:2"]
    assert names(steps, NM(3, 4)) == ["3:4"]
    assert names(steps, NM(3, 16)) == ["15:16", "8:16", "4:16", "3:16"]
    assert names(steps, NM(1, 4, (2, 2))) == ["3:4 of 2x2", "2:4 of 2x2", "1:4 of 2x2"]
    assert names(groups, NM(1, 8)) == ["8:64", "4:32", "2:16", "1:8"]
    # 24 inputs are no multiple of 64, 32 and 16.
    assert names(groups, NM(1, 8), (1, 24, 4)) == ["1:8"]
    assert names(groups, NM(1, 2), (9, 8, 4)) == ["4:8", "2:4", "1:2"]


@pytest.mark.parametrize("pattern", [NM(1, 8), NM(2, 4), NM(3, 16), NM(3, 8, (2, 1))])
@pytest.mark.parametrize("kind", ["stepwise", "geometric"])
def test_frames_follow_each_other_in_equal_parts(kind, pattern):
    schedule, shape = SdGf(kind), (1, 96, 4)
    frames = schedule.frames(pattern, shape)
    assert frames[-1] == pattern and len(set(frames)) == len(frames)
    assert not any(frame.misfit(shape) for frame in frames)
    kept = [frame.n / frame.m for frame in frames]
    assert kept == sorted(kept, reverse=True)
    total = 60 * len(frames)
    found = [
        laid_on(schedule, step, (7, 7 + total), pattern, shape)
        for step in range(7, 8 + total)
    ]
    assert found == [frame for frame in frames for _ in range(60)] + [pattern]


def test_other_schedules_lay_on_the_pattern_itself():
    assert laid_on(Cubic(), 3, (0, 9), Block(), (1, 8, 8)) == Block()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Linear(1.5), "Linear needs 0 <= initial <= 1.*initial=1.5"),
        (lambda: Cosine(-0.1), "Cosine needs 0 <= initial <= 1.*initial=-0.1"),
        (lambda: Stepwise(0), "steps=0"),
        (lambda: Stepwise(2.5), "`steps` must be an integer"),
        (lambda: SdGf("cubic"), "kind='cubic'"),
        (lambda: Sampled((0.0,)), "two or more numbers"),
        (lambda: Sampled((0.0, 0.7, 0.2, 1.0)), r"never falls.*shares\[1\]=0.7, then"),
        (lambda: SdGf().frames(Block(), (1, 8, 8)), "leads to N:M.*4x4 blocks"),
    ],
)
def test_settings_that_are_wrong(make, message):
    with pytest.raises(ValueError, match=message):
        make()
