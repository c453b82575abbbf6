"""One reader of data: every form gives the same batches, everywhere."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import qsparse
from qsparse.engine.batches import Batches
from qsparse.engine.feed import read
from tests.perceptron import mlp

X = np.random.default_rng(0).normal(size=(70, 16))
Y = np.arange(70) % 12
WEIGHT = np.linspace(0.5, 1.5, 70)


class Rows(keras.utils.PyDataset):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        part = slice(32 * index, 32 * index + 32)
        return X[part], Y[part], WEIGHT[part]


def parts():
    return [tuple(a[i : i + 32] for a in (X, Y, WEIGHT)) for i in (0, 32, 64)]


FORMS = {
    "tuple": lambda: (X, Y, WEIGHT),
    "tensors": lambda: tuple(map(tf.constant, (X, Y, WEIGHT))),
    "list of batches": parts,
    "generator": lambda: (part for part in parts()),
    "dataset": lambda: tf.data.Dataset.from_tensor_slices((X, Y, WEIGHT)).batch(32),
    "PyDataset": Rows,
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_same_batches(form):
    found = list(Batches(FORMS[form](), "data"))
    assert [len(x) for x, _, _ in found] == [32, 32, 6]
    for place, expected in enumerate((X, Y, WEIGHT)):
        whole = np.concatenate([batch[place] for batch in found])
        np.testing.assert_array_equal(whole, expected.astype(whole.dtype))
    assert found[0][0].dtype == np.float32 and found[0][1].dtype.kind == "i"


@pytest.mark.parametrize("form", FORMS)
def test_every_form_measures_the_same(form):
    model = mlp()
    settings = {"recipe": qsparse.Recipe("2:4"), "formats": (), "batch_size": 32}
    expected = qsparse.sensitivity(model, (X, Y, WEIGHT), **settings)
    assert qsparse.sensitivity(model, FORMS[form](), **settings) == expected
    assert expected.metric == "loss" and expected.samples == 70


@pytest.mark.parametrize("form", FORMS)
def test_every_form_feeds_the_same(form):
    feed = read(mlp(), FORMS[form](), 40, "data")
    np.testing.assert_array_equal(feed.arrays[0], X[:40].astype(np.float32))
    np.testing.assert_array_equal(feed.labels, Y[:40])


@pytest.mark.parametrize("form", [f for f in FORMS if f != "generator"])
def test_it_may_be_gone_through_again(form):
    batches = Batches(FORMS[form](), "data", again=True)
    assert batches.count() == 3
    for (one, *_), (two, *_) in zip(batches, batches, strict=True):
        np.testing.assert_array_equal(one, two)


def test_structures_and_lists():
    data = {"a": X, "b": [Y, WEIGHT]}
    ((x, y, weight), *_) = Batches((data, None, WEIGHT), "data", rows=50)
    assert y is None and len(weight) == len(x["b"][1]) == 50
    inputs = [keras.Input((16,)), keras.Input((1,))]
    two = keras.Model(inputs, keras.layers.Concatenate()(inputs))
    assert len(list(Batches([X, Y], "data"))) == 3
    assert len(list(Batches([X, X[:9]], "data", model=mlp()))) == 2  # two batches
    assert [a.shape for a in read(two, (X, Y[:, None]), 8, "data").arrays] == [
        (8, 16),
        (8, 1),
    ]


def test_nothing_is_read_before_its_turn():
    asked = []

    def endless():
        while True:
            asked.append(1)
            yield X[:8], Y[:8]

    batches = iter(Batches(endless(), "data"))
    assert not asked
    next(batches)
    assert len(asked) == 1
    assert read(mlp(), endless(), 20, "data").count == 20
    assert len(asked) == 4
