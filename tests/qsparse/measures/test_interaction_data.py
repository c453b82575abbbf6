"""Interaction: data and metrics of every kind, and what cannot be analysed."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import qsparse
from qsparse import Recipe
from tests.by_hand import ARMS, RECIPE
from tests.untouched import Batches, assert_given_back, values_of


def test_data_of_any_kind(trained):
    model, (x, y) = trained
    few = {"batch_size": 50, "batches": 2}
    plain = qsparse.analyse(model, RECIPE, (x[:100], y[:100]), batch_size=50)
    for data in (
        tf.data.Dataset.from_tensor_slices((x, y)).batch(50).repeat(),
        Batches(x, y),
        (x, y, np.ones(250)),
    ):
        found = qsparse.analyse(model, RECIPE, data, **few)
        assert found.samples == 100 and len(found.values["dense"]) == 2
        for arm in ARMS:
            assert found.values[arm] == pytest.approx(plain.values[arm], rel=1e-4)


def test_noise_of_the_outputs(trained, expected):
    """Without labels, and where it is asked for."""
    model, (x, y) = trained
    made, batches = expected
    before = values_of(model)
    found = qsparse.analyse(model, RECIPE, x)
    assert_given_back(model, before)
    assert (found.metric, found.value("dense")) == ("noise", 0.0)
    clean = [made["dense"](x) for x, _ in batches]
    pairs = list(zip(batches, clean, strict=True))
    for arm in ARMS[1:]:
        differing = [made[arm](x) - one for (x, _), one in pairs]
        noise = sum(np.square(d).sum() for d in differing)
        noise /= sum(np.square(one).sum() for one in clean)
        assert found.value(arm) == pytest.approx(noise, rel=5e-3)
    named = qsparse.analyse(model, RECIPE, (x, y), "noise")
    assert named.values == found.values


def test_a_metric_by_name_or_function(trained, expected):
    model, (x, y) = trained
    made, batches = expected
    named = qsparse.analyse(model, RECIPE, (x, y), "accuracy")

    def right(model):
        return (np.asarray(model.predict_on_batch(x)).argmax(axis=1) == y).mean()

    own = qsparse.analyse(model, RECIPE, x, right)
    assert (named.metric, own.metric, named.less_is_better) == (
        "accuracy",
        "right",
        False,
    )
    for arm in ARMS:
        correct = np.mean(made[arm](x).argmax(axis=1) == y)
        assert named.value(arm) == pytest.approx(own.value(arm), abs=0.005)
        assert named.value(arm) == pytest.approx(correct, abs=0.009)
    limit = named.value("pruned") + named.value("quantized") - named.value("dense")
    found = named.threshold()
    assert found.exceeds == pytest.approx(limit - named.value("S->Q"), abs=1e-9)
    # A function says nothing of batches.
    single = own.threshold()
    assert single.half_interval == np.inf and single.verdict == "not told apart"
    assert own.to_dict()["thresholds"]["S->Q"]["half_interval"] is None


def test_a_loaded_model_is_measured_by_its_compiled_metric(trained, tmp_path):
    """Keras builds compiled metrics with the first batch."""
    model, (x, y) = trained
    model.save(tmp_path / "m.keras")
    again = keras.models.load_model(tmp_path / "m.keras")
    found = qsparse.analyse(again, RECIPE, (x, y), "accuracy")
    right = (np.asarray(again.predict_on_batch(x)).argmax(axis=1) == y).mean()
    assert found.value("dense") == pytest.approx(right)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"metric": np.zeros(40)}, r"data is one thing, as \(x, y\)"),
        ({"recipe": Recipe(None)}, "does not prune.*Take one that prunes and quant"),
        ({"recipe": Recipe("2:4", quantize=False)}, "does not quantize.*Take one"),
        ({"recipe": "2:4"}, "takes a qsparse.Recipe"),
        ({"metric": "auc"}, "metric='auc' is no compiled metric.*Give the name"),
        ({"metric": lambda model: np.nan}, "is nan for the model that is dense"),
        ({"data": np.ones((9, 16)), "metric": "loss"}, "There are no labels to meas"),
        ({"data": []}, "data is empty"),
        ({"data": 5}, "data must hold samples"),
        ({"batches": 0}, "must be positive"),
        ({"recipe": Recipe("2:4", criterion="wanda")}, "score_data="),
        ({"recipe": Recipe("2:4", exclude="*")}, "no layer to compress"),
    ],
)
def test_what_cannot_be_analysed(trained, settings, message):
    model, data = trained
    before = values_of(model)
    settings = {"data": data, "recipe": RECIPE, **settings}
    with pytest.raises((TypeError, ValueError), match=message):
        qsparse.analyse(model, **settings)
    assert_given_back(model, before)


def test_a_warning_that_raises_leaves_the_model_as_it_was(trained):
    """All that there is to warn of is said when the recipe is on."""
    model, data = trained
    before = values_of(model)
    recipe = Recipe("unstructured", 0.5, format="int4", allocation="uniform+")
    with pytest.raises(UserWarning, match="they hold"):
        qsparse.analyse(model, recipe, data)
    assert_given_back(model, before)


def test_models_that_cannot_be_analysed(pixels):
    plain = keras.Sequential([keras.Input((16,)), layers.Dense(8)])
    with pytest.raises(ValueError, match="There is no compiled loss.*Compile the mod"):
        qsparse.analyse(plain, RECIPE, pixels)
    with pytest.raises(ValueError, match="looks at Keras models. Received: 'm.keras'"):
        qsparse.analyse("m.keras", RECIPE, pixels)
    qsparse.attach(plain, RECIPE)
    with pytest.raises(ValueError, match="carries a recipe.*after qsparse.strip"):
        qsparse.analyse(plain, RECIPE, pixels[0])
    unbuilt = keras.Sequential([layers.Dense(8)])
    with pytest.raises(ValueError, match="is not built, .* Call it on a batch"):
        qsparse.analyse(unbuilt, RECIPE, pixels[0])


def test_metrics_of_several_outputs():
    inputs = keras.Input((8,))
    outputs = {name: layers.Dense(8, name=name)(inputs) for name in "ab"}
    model = keras.Model(inputs, outputs)
    model.compile("sgd", {"a": "mse", "b": "mse"}, metrics={"a": ["mae"]})
    x = np.random.default_rng(0).random((20, 8), np.float32)
    data = x, {"a": x, "b": x}
    logs = model.evaluate(*data, verbose=0, return_dict=True)
    for name in ("loss", "a_loss", "a_mae"):
        found = qsparse.analyse(model, RECIPE, data, name)
        assert found.value("dense") == pytest.approx(logs[name]), name
        assert found.less_is_better
    with pytest.raises(ValueError, match="metric='mae' is no compiled metric"):
        qsparse.analyse(model, RECIPE, data, "mae")


def test_several_inputs():
    inputs = {"a": keras.Input((8,), name="a"), "b": keras.Input((8,), name="b")}
    total = layers.Add()([layers.Dense(8, name=f"of_{k}")(inputs[k]) for k in "ab"])
    model = keras.Model(inputs, [total, layers.Dense(4, name="last")(total)])
    x = np.random.default_rng(0).random((20, 8), np.float32)
    found = qsparse.analyse(model, RECIPE, {"a": x, "b": x[::-1]}, batch_size=7)
    assert found.samples == 20
    assert {row.path for row in found.layers} == {"of_a", "of_b", "last"}
