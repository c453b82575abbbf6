"""The PQ index against its formula, number by number."""

import math

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers

import qsparse
from qsparse.engine.compressor import compressed_layers
from tests.perceptron import mlp


def one(kernel):
    model = keras.Sequential(
        [keras.Input((kernel.shape[0],)), layers.Dense(kernel.shape[1], name="only")]
    )
    model.layers[0].set_weights([kernel, np.zeros(kernel.shape[1])])
    return model


def oracle(kernel, p, q, eta, gamma, beta):
    active = [abs(float(w)) for w in kernel.ravel() if w != 0]
    d = len(active)
    norm = {n: sum(w**n for w in active) ** (1 / n) for n in (p, q)}
    index = 1 - d ** (1 / q - 1 / p) * norm[p] / norm[q]
    m = math.ceil(
        d * (1 + eta) ** (-q / (q - p)) * (1 - index) ** (q * p / (q - p)) - 1e-9
    )
    ratio = min(max(gamma * (1 - m / d), 0), beta)
    return d, index, math.floor(d * ratio + 1e-9)


@pytest.mark.parametrize(
    ("p", "q", "eta", "gamma", "beta"),
    [(0.5, 1, 0, 1, 0.9), (1, 2, 0.1, 0.7, 0.9), (0.3, 0.8, -0.05, 3, 0.4)],
)
def test_index_and_suggestion(p, q, eta, gamma, beta):
    kernel = np.random.default_rng(0).normal(size=(16, 12)).astype(np.float32) ** 3
    kernel[:4] = 0
    found = qsparse.pq_index(one(kernel), p=p, q=q, eta=eta, gamma=gamma, beta=beta)
    (row,) = found.rows
    active, index, prune = oracle(kernel, p, q, eta, gamma, beta)
    assert (row.path, row.weights, row.active) == ("only", 192, active == 144 and 144)
    assert row.index == pytest.approx(index, abs=1e-6)
    assert row.prune == prune > 0
    assert row.sparsity == pytest.approx((48 + prune) / 192)
    assert "only" in str(found)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 999), st.floats(1e-3, 1e3))
def test_scale_does_not_count(seed, scale):
    kernel = np.random.default_rng(seed).normal(size=(8, 4))
    (row,), (scaled,) = (
        qsparse.pq_index(one(k)).rows for k in (kernel, kernel * scale)
    )
    assert scaled.index == pytest.approx(row.index, abs=1e-5)
    assert 0 <= row.index < 1 and 0 <= row.prune < 32


def test_equal_weights_are_not_compressible():
    (row,) = qsparse.pq_index(one(np.full((8, 4), -0.5))).rows
    assert row.index == pytest.approx(0, abs=1e-9) and row.prune == 0


def test_pruned_weights_are_not_active():
    model = mlp()
    qsparse.attach(model, qsparse.Recipe("unstructured", 0.5))
    for layer in compressed_layers(model):
        layer.select_mask(0.5)
    before = model.get_weights()
    report = qsparse.pq_index(model)
    assert [(row.path, row.active) for row in report.rows] == [
        ("hidden", 256),
        ("head", 192),
    ]
    for ours, theirs in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    other = mlp()
    recipe = qsparse.Recipe("unstructured", 0.5, rules=report.rules())
    plans = {plan.path: plan.sparsity for plan in qsparse.resolve(other, recipe)}
    assert plans == {row.path: pytest.approx(row.sparsity) for row in report.rows}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"p": 1.0}, "0 < p < q. Received: p=1.0, q=1.0"),
        ({"p": 0}, "0 < p < q"),
        ({"beta": 1.0}, r"`beta` in \[0, 1\). Received: eta=0.0, gamma=1.0, beta=1.0"),
        ({"eta": -1}, "`eta` must be above -1"),
        ({"gamma": "1"}, "`gamma` must be a finite number"),
    ],
)
def test_bad_numbers(settings, message):
    with pytest.raises(ValueError, match=message):
        qsparse.pq_index(mlp(), **settings)


def test_nothing_to_prune():
    with pytest.raises(ValueError, match="no built layer with weights to prune"):
        qsparse.pq_index(keras.Sequential([keras.Input((4,)), layers.ReLU()]))
