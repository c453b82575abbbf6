"""Interaction: criteria, allocations, formats and models of every kind."""

import json

import keras
import numpy as np
import pytest
from keras import layers

import qsparse
from qsparse import Recipe
from qsparse.methods.formats import LearnedInt
from tests import by_hand
from tests.by_hand import ARMS, norm
from tests.untouched import assert_given_back, values_of


def test_criteria_that_look_at_data(trained):
    """Wanda by hand; SNIP by gradients."""
    model, (x, y) = trained
    before = values_of(model)
    recipe = Recipe("2:4", format="int4", criterion="wanda")
    found = qsparse.analyse(model, recipe, (x, y), score_data=x, batch_size=250)
    first, bias, second, end = model.get_weights()
    hidden = np.maximum(x @ first + bias, 0)
    pruned = []
    for weights, flows in ((first, x), (second, hidden)):
        scores = np.abs(weights) * np.linalg.norm(flows, axis=0)[:, np.newaxis]
        pruned.append(weights * by_hand.mask(scores))
    one = by_hand.Perceptron((pruned[0], bias, pruned[1], end), False)
    assert found.value("pruned") == pytest.approx(by_hand.loss(one(x), y), rel=1e-3)
    assert found.value("pruned") != pytest.approx(found.value("dense"), rel=1e-3)
    snip = Recipe("unstructured", 0.5, format="int4", criterion="snip")
    other = qsparse.analyse(model, snip, (x, y), score_data=(x[:50], y[:50]))
    assert [row.sparsity for row in other.layers] == pytest.approx([0.5, 0.5], abs=0.01)
    assert_given_back(model, before)


@pytest.mark.parametrize("criterion", ["magnitude", "wanda"])
def test_global_allocation(trained, criterion):
    model, (x, y) = trained
    before = values_of(model)
    data = {"score_data": x} if criterion == "wanda" else {}
    recipe = Recipe("unstructured", 0.5, allocation="global", criterion=criterion)
    found = qsparse.analyse(model, recipe, (x, y), batches=1, **data)
    zeros = [row.sparsity * row.weights for row in found.layers]
    assert sum(zeros) == pytest.approx(0.5 * 896, abs=3)
    assert abs(found.layers[0].sparsity - found.layers[1].sparsity) > 0.02
    if criterion == "magnitude":
        kernels = [model.get_weights()[0], model.get_weights()[2]]
        limit = np.median(np.concatenate([np.abs(k).ravel() for k in kernels]))
        for row, kernel in zip(found.layers, kernels, strict=True):
            assert row.sparsity == pytest.approx(
                (np.abs(kernel) < limit).mean(), abs=0.01
            )
    assert_given_back(model, before)


def test_rules_that_leave_a_layer_alone(trained):
    model, data = trained
    few = {"batches": 1}
    alone = qsparse.analyse(
        model, Recipe("2:4", format="int4", exclude="head"), data, **few
    )
    assert [row.path for row in alone.layers] == ["hidden"]
    rule = qsparse.Rule("head", pattern="dense")
    dense = qsparse.analyse(
        model, Recipe("2:4", format="int4", rules=[rule]), data, **few
    )
    hidden, head = dense.layers
    assert (head.sparsity, head.swapped, head.format) == (0.0, None, "int4")
    assert hidden.sparsity == 0.5
    assert head.tensor.pruned == 0.0
    assert head.tensor.pruned_first == head.tensor.quantized_first > 0
    assert head.product.both["S->Q"] == pytest.approx(head.product.quantized)
    for found in (alone, dense):
        json.dumps(found.to_dict(), allow_nan=False)
        assert str(found)


@pytest.mark.parametrize("order", ["S->Q", "Q->S"])
def test_scales_that_training_learns_begin_in_each_arm(trained, order):
    """They fit what an arm rounds: weights as they are, or those that are kept."""
    model, (x, y) = trained
    before = values_of(model)
    recipe = Recipe("2:4", format="learned-int4", order=order)
    found = qsparse.analyse(model, recipe, (x, y), batch_size=250)
    assert_given_back(model, before)
    format = LearnedInt(4)

    def rounds(weights):
        canonical = weights[np.newaxis]
        ends = np.abs(canonical).max(axis=(0, 1)) * format.start(canonical)
        return format.decode(*format.coded(canonical, ends))[0]

    made = by_hand.perceptrons(model, [x], lambda w: by_hand.forms(w, rounds))
    for arm in ARMS:
        wanted = by_hand.loss(made[arm](x), y)
        assert found.value(arm) == pytest.approx(wanted, rel=1e-3)
    for row, weights in zip(found.layers, model.get_weights()[::2], strict=True):
        forms = by_hand.forms(weights, rounds)
        assert row.tensor.quantized == pytest.approx(norm(weights - forms["quantized"]))
        assert row.tensor.pruned_first == pytest.approx(norm(weights - forms["S->Q"]))
        late = norm(weights - forms["Q->S"])
        assert row.tensor.quantized_first == pytest.approx(late)


@pytest.mark.parametrize("format", ["mxfp4", "hbfp6", "a16w8", "int8"])
def test_formats(trained, format):
    model, data = trained
    before = values_of(model)
    found = qsparse.analyse(model, Recipe("2:4", format=format), data, batches=2)
    assert_given_back(model, before)
    for row, weights in zip(found.layers, model.get_weights()[::2], strict=True):
        wanted = qsparse.analysis.tensor_errors(weights, "2:4", format)
        assert row.tensor.quantized == pytest.approx(wanted.quantized, rel=1e-5)
        assert row.tensor.pruned_first == pytest.approx(wanted.pruned_first, rel=1e-5)
        late = wanted.quantized_first
        assert row.tensor.quantized_first == pytest.approx(late, rel=1e-5)
        assert row.product.quantized > 0 and row.format == format
    json.dumps(found.to_dict(), allow_nan=False)


class Auxiliary(keras.Model):
    """Has a head that is called in training only, and one layer called twice."""

    def __init__(self):
        super().__init__()
        self.first, self.twice = layers.Dense(16), layers.Dense(16)
        self.last, self.aside = layers.Dense(4), layers.Dense(4)

    def call(self, x, training=False):
        x = self.twice(self.twice(self.first(x)))
        return self.last(x) + self.aside(x) if training else self.last(x)


def subclassed():
    model = Auxiliary()
    model(np.zeros((1, 8)), training=True)
    return model, (8,)


def attention():
    x = inputs = keras.Input((6, 8))
    x = layers.MultiHeadAttention(2, 4, name="mha")(x, x)
    x = layers.EinsumDense("abc,cd->abd", output_shape=(6, 8), name="einsum")(x)
    return keras.Model(inputs, layers.Dense(4)(x)), (6, 8)


def convolutions():
    x = inputs = keras.Input((9, 9, 4))
    x = layers.Conv2D(8, 3, strides=2, padding="same", name="strided")(x)
    x = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    x = layers.Conv2D(8, 3, dilation_rate=2, padding="same", name="dilated")(x)
    inner = keras.Sequential([keras.Input((5, 5, 8)), layers.Conv2D(8, 3)], name="in")
    x = layers.GlobalAveragePooling2D()(inner(x))
    two = [layers.Dense(4, name="a")(x), layers.Dense(4, name="b")(x)]
    return keras.Model(inputs, two), (9, 9, 4)


def embedded():
    x = inputs = keras.Input((5,), dtype="int32")
    x = layers.Embedding(20, 8, name="table")(x)
    x = layers.Conv1D(8, 3, padding="causal", name="causal")(x)
    return keras.Model(inputs, layers.Dense(4)(layers.LSTM(4)(x))), (5,)


@pytest.mark.parametrize(
    ("build", "policy"),
    [
        *((build, "float32") for build in (subclassed, attention, convolutions)),
        (embedded, "float32"),
        (attention, "mixed_bfloat16"),
        (convolutions, "mixed_float16"),
    ],
)
def test_odd_models(build, policy):
    """The noise of their outputs; products of layers as the layers compute them."""
    keras.utils.set_random_seed(2)
    keras.config.set_dtype_policy(policy)
    try:
        model, shape = build()
    finally:
        keras.config.set_dtype_policy("float32")
    generator = np.random.default_rng(0)
    x = generator.normal(size=(8, *shape)).astype(np.float32)
    if build is embedded:
        x = generator.integers(0, 20, (8, *shape))
    before = values_of(model)
    recipe = Recipe("unstructured", 0.5, format="int4")
    found = qsparse.analyse(model, recipe, x)
    assert_given_back(model, before)
    json.dumps(found.to_dict(), allow_nan=False)
    assert str(found)
    rows = {row.path: row for row in found.layers}
    if build is subclassed:
        aside = rows.pop(model.aside.name)
        assert aside.product is None and aside.arriving == {}
    for path, row in rows.items():
        assert (row.product is None) == path.startswith("depthwise"), path
    assert 0 < found.value("quantized") < found.value("S->Q")
    if policy == "float32" and build in (attention, convolutions):
        assert_first_product(model, x, found.layers[0])


def assert_first_product(model, x, row):
    """Compares the error of a pruned layer with what Keras computes."""
    layer = model
    for name in row.path.split("/"):
        children = layer.layers if isinstance(layer, keras.Model) else None
        children = children or layer._flatten_layers(include_self=False)
        layer = next(each for each in children if each.name == name)
    kernel = layer._kernel.numpy()
    dense = np.asarray(layer(x)) - np.asarray(layer(x * 0))
    # Half the weights of each kernel are pruned, as near as may be.
    kept = np.abs(kernel) > np.median(np.abs(kernel))
    layer._kernel.assign(kernel * kept)
    pruned = np.asarray(layer(x)) - np.asarray(layer(x * 0))
    layer._kernel.assign(kernel)
    assert row.sparsity == pytest.approx(0.5, abs=0.02)
    assert row.product.pruned == pytest.approx(
        norm(dense - pruned) / norm(dense), rel=0.05
    )
