"""Schedules against the blind oracle."""

import pytest

from qsparse import Constant, Cubic, OneShot
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
