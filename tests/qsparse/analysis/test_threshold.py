"""The orthogonality threshold, and how masks differ."""

import numpy as np
import pytest

from qsparse.analysis import sum_of_differences, threshold


def test_an_accuracy_and_a_loss_are_compared_in_their_own_direction():
    found = threshold(0.9, 0.88, 0.89, 0.85, more_is_better=True)
    assert found.value == pytest.approx(0.87) and found.exceeds == pytest.approx(0.02)
    assert found.both == 0.85 and found.verdict == "not told apart"
    loss = threshold(1.0, 1.2, 1.1, 1.25, more_is_better=False)
    assert loss.value == pytest.approx(1.3) and loss.exceeds == pytest.approx(-0.05)


def test_seeds_tell_apart_what_one_cannot():
    dense, sparse = np.array([0.90, 0.91, 0.89]), np.array([0.88, 0.89, 0.87])
    quantized = np.array([0.895, 0.905, 0.885])
    worse = threshold(
        dense, sparse, quantized, [0.861, 0.872, 0.853], more_is_better=True
    )
    assert worse.verdict == "not orthogonal"
    # By hand: 0.014, 0.013, 0.012, so 0.013 with a deviation of 0.001.
    assert worse.exceeds == pytest.approx(0.013)
    assert worse.half_interval == pytest.approx(4.303 * 0.001 / 3**0.5, rel=1e-3)
    better = threshold(dense, sparse, quantized, sparse, more_is_better=True)
    assert better.verdict == "orthogonal" and better.half_interval < 1e-12
    noise = threshold(dense, sparse, quantized, [0.88, 0.86, 0.87], more_is_better=True)
    assert noise.verdict == "not told apart"


def test_what_adds_up_exactly_is_orthogonal_whatever_its_last_bits():
    for dense in np.linspace(0.8, 0.95, 300):
        twice = [[each] * 2 for each in (dense, dense - 0.038, dense - 0.019)]
        both = [dense - 0.057] * 2
        found = threshold(*twice, both, more_is_better=True)
        assert found.verdict == "orthogonal" and found.exceeds == 0.0


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match="one number for each seed.*dense=2"):
        threshold([0.9, 0.8], 0.8, 0.8, 0.8, more_is_better=True)
    with pytest.raises(ValueError, match="must be finite"):
        threshold(0.9, 0.8, float("nan"), 0.8, more_is_better=True)


def test_masks_differ_where_they_do():
    one = np.array([[True, False], [True, True]])
    assert sum_of_differences(one, one) == 0
    assert sum_of_differences(one, [[1, 1], [0, 1]]) == 2
    with pytest.raises(ValueError, match=r"\(2, 2\) and \(4,\)"):
        sum_of_differences(one, one.ravel())
    with pytest.raises(ValueError, match="True and False"):
        sum_of_differences(one, one * 2)
