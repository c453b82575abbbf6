"""A perceptron that has learned something, and what becomes of it by hand."""

import pytest

import qsparse
from tests import by_hand, perceptron
from tests.by_hand import RECIPE
from tests.perceptron import mlp
from tests.untouched import assert_given_back, values_of


@pytest.fixture(scope="module")
def trained(images):
    """Return a perceptron that has learned something, and its data."""
    data = images[0][:250, 12:16, 12:16].reshape(250, 16), images[1][:250]
    model = mlp()
    perceptron.fit(model, data, [], epochs=10)
    return model, data


@pytest.fixture(scope="module")
def report(trained):
    model, data = trained
    before = values_of(model)
    found = qsparse.analyse(model, RECIPE, data)
    assert_given_back(model, before)
    return found


@pytest.fixture(scope="module")
def expected(trained):
    """Return the arms by hand, and the batches they have seen."""
    model, (x, y) = trained
    batches = [(x[i : i + 64], y[i : i + 64]) for i in range(0, 250, 64)]
    return by_hand.perceptrons(model, [x for x, _ in batches]), batches
