"""Rank correlation, against scipy."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from qsparse.analysis import rank_correlation


@pytest.mark.parametrize("levels", [3, 1000])
def test_it_is_spearmans_with_ties_and_without(levels):
    rng = np.random.default_rng(levels)
    for _ in range(20):
        one = rng.integers(levels, size=30)
        other = one + rng.integers(levels, size=30)
        expected = spearmanr(one, other).statistic
        assert rank_correlation(one, other) == pytest.approx(expected, abs=1e-12)


def test_it_knows_agreement_and_its_opposite():
    assert rank_correlation([1, 2, 30], [0.1, 0.2, 0.3]) == pytest.approx(1.0)
    assert rank_correlation([1, 2, 30], [3, 2, 1]) == pytest.approx(-1.0)
    assert np.isnan(rank_correlation([1, 1, 1], [1, 2, 3]))


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        ([1, 2], [1, 2, 3], "pairs, two at least. Received: 2 and 3"),
        ([1], [1], "two at least"),
        ([1, np.nan], [1, 2], "must be finite"),
    ],
)
def test_what_has_no_ranks_is_an_error(one, other, message):
    with pytest.raises(ValueError, match=message):
        rank_correlation(one, other)
