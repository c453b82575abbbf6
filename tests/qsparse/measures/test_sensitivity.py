"""Sensitivity: one layer at a time, and the model given back as it was."""

import json
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import qsparse
from qsparse import NM, Int8, Magnitude, Recipe, Unstructured
from qsparse.callbacks import Prune
from qsparse.measures import perturbation
from tests import perceptron
from tests.perceptron import mlp
from tests.untouched import Batches, assert_untouched, values_of


def differ(a, b):
    return bool((a != b).any())


def loss_of(model, data):
    """Return the mean loss, from logits, by numpy."""
    x, y = data
    logits = np.asarray(model(x), np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return -np.log(probabilities[np.arange(len(y)), y]).mean()


def test_every_row_is_one_layer_changed(trained):
    """Each row against a copy of the model that was changed by hand."""
    model, data = trained
    before = values_of(model)
    recipe = Recipe("unstructured", 0.5)
    report = qsparse.sensitivity(model, data, recipe, sparsities=(0.5, 0.9))
    assert_untouched(model, before)
    assert (report.metric, report.samples) == ("loss", 250)
    assert report.baseline == pytest.approx(loss_of(model, data), rel=1e-4)
    assert [(row.path, row.change) for row in report.rows] == [
        (path, change)
        for path in ("hidden", "head")
        for change in ("50.0%", "90.0%", "int8")
    ]
    for row in report.rows:
        copy = keras.models.clone_model(model)
        copy.set_weights(model.get_weights())
        kernel = copy.get_layer(row.path)._kernel
        weights = kernel.numpy()[np.newaxis]
        if row.format is None:
            mask = Unstructured().mask(Magnitude().score(weights), row.asked)
            weights = weights * mask
            assert row.sparsity == pytest.approx(1 - mask.mean())
        else:
            weights = Int8().decode(*Int8().encode(weights))
            assert row.sparsity == 0.0
        kernel.assign(weights[0])
        assert row.value == pytest.approx(loss_of(copy, data), rel=1e-4)
        assert row.drop == pytest.approx(row.value - report.baseline)
    drops = {(row.path, row.change): row.drop for row in report.rows}
    assert drops["head", "90.0%"] > drops["head", "50.0%"]
    assert abs(drops["head", "int8"]) < 0.01 < drops["head", "90.0%"]


def test_without_labels_it_is_the_noise_of_the_outputs(trained):
    model, (x, _) = trained
    recipe = Recipe("2:4")
    report = qsparse.sensitivity(model, x, recipe, formats=())
    assert (report.metric, report.baseline) == ("noise", 0.0)
    # The sparsity of 2:4 is fixed.
    assert [row.change for row in report.rows] == ["50.0%", "50.0%"]
    clean = np.asarray(model(x), np.float64)
    for row in report.rows:
        copy = keras.models.clone_model(model)
        copy.set_weights(model.get_weights())
        kernel = copy.get_layer(row.path)._kernel
        weights = kernel.numpy()[np.newaxis]
        kernel.assign((weights * NM(2, 4).mask(np.abs(weights)))[0])
        noise = np.square(np.asarray(copy(x)) - clean).sum() / np.square(clean).sum()
        assert row.drop == row.value == pytest.approx(noise, rel=1e-4)


def test_a_metric_by_name_or_function(trained):
    model, data = trained
    before = values_of(model)
    few = {"sparsities": (0.9,), "formats": (), "recipe": Recipe("unstructured", 0.5)}
    named = qsparse.sensitivity(model, data, metric="accuracy", **few)

    def accuracy(model):
        return (np.asarray(model(data[0])).argmax(axis=1) == data[1]).mean()

    own = qsparse.sensitivity(model, data[0], metric=accuracy, **few)
    assert named.metric == own.metric == "accuracy"
    assert named.baseline == pytest.approx(own.baseline)
    assert max(row.drop for row in named.rows) > 0
    for ours, theirs in zip(named.rows, own.rows, strict=True):
        assert ours.value == pytest.approx(theirs.value)
        assert ours.drop == pytest.approx(named.baseline - ours.value)
    assert_untouched(model, before)


def test_data_of_any_kind(trained):
    model, (x, y) = trained
    few = {"sparsities": (0.5,), "formats": (), "recipe": Recipe("unstructured", 0.5)}
    plain = qsparse.sensitivity(model, (x[:100], y[:100]), **few)
    for data in (
        tf.data.Dataset.from_tensor_slices((x, y)).batch(50).repeat(),
        Batches(x, y),
        ((x[i : i + 50], y[i : i + 50]) for i in range(0, 250, 50)),
        (x, y, np.ones(250)),
    ):
        found = qsparse.sensitivity(model, data, **few, batch_size=50, batches=2)
        assert found.samples == 100
        drops = [row.drop for row in found.rows]
        assert drops == pytest.approx([row.drop for row in plain.rows], rel=1e-3)
    short = qsparse.sensitivity(model, Batches(x, y), **few, batches=99)
    assert short.samples == 250


def test_several_inputs():
    inputs = {"a": keras.Input((8,), name="a"), "b": keras.Input((8,), name="b")}
    total = layers.Add()([layers.Dense(8, name=f"of_{k}")(inputs[k]) for k in "ab"])
    model = keras.Model(inputs, [total, layers.Dense(4, name="last")(total)])
    x = np.random.default_rng(0).random((20, 8), np.float32)
    data = {"a": x, "b": x[::-1]}
    report = qsparse.sensitivity(model, data, Recipe("unstructured", 0.5), batch_size=7)
    assert report.samples == 20
    assert {row.path for row in report.rows} == {"of_a", "of_b", "last"}


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_what_ends_it_leaves_the_model_as_it_was(trained, error):
    model, data = trained
    before, calls = values_of(model), []

    def metric(model):
        calls.append(any(map(differ, values_of(model), before)))
        if len(calls) == 4:
            raise error
        return 0.0

    with pytest.raises(error):
        qsparse.sensitivity(model, data, Recipe("unstructured", 0.5), metric=metric)
    assert calls == [False, True, True, True]
    assert_untouched(model, before)


def test_statistics_are_given_back(images):
    """Also where a model moves something when it is only looked at."""

    class Counting(layers.Layer):
        def build(self, shape):
            self.count = self.add_weight(shape=(), name="count", trainable=False)

        def call(self, x):
            self.count.assign_add(1.0)
            return x

    model = keras.Sequential([keras.Input((16,)), Counting(), layers.Dense(8)])
    model.compile("sgd", "mse")
    before = values_of(model)
    x = np.ones((30, 16), np.float32)
    for data in ((x, x[:, :8]), x):
        qsparse.sensitivity(model, data, Recipe("unstructured", 0.5))
        assert_untouched(model, before)


def report_of(trained, **settings):
    model, data = trained
    return qsparse.sensitivity(model, data, Recipe("unstructured", 0.5), **settings)


def test_the_allocation_trains(trained, pixels):
    report = report_of(trained)
    drops = {}
    for row in report.rows:
        if row.format is None:
            drops.setdefault(row.path, []).append((row.sparsity, row.drop))
    assert {p: list(c) for p, c in report.allocation.curves} == drops
    recipe = Recipe("unstructured", 0.6, allocation=report.allocation)
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
    model = mlp()
    with pytest.warns(UserWarning, match="steps from where"):
        callback = Prune("unstructured", 0.6, allocation=report.allocation)
        perceptron.fit(model, pixels, [callback])
    zeros = sum(row.sparsity * row.weights for row in callback.coverage.layers)
    assert abs(zeros - 0.6 * 896) <= 2


def measurement(path, asked, drop, format=None):
    change = format or f"{asked:.0%}"
    return perturbation.Measurement(path, change, asked, asked, format, drop, drop)


REPORT = perturbation.SensitivityReport(
    "loss",
    0.25,
    100,
    (
        measurement("stem", 0.5, 0.3),
        measurement("stem", 0.9, 0.4),
        measurement("stem", 0.0, 0.0, "int8"),
        measurement("block/conv", 0.5, 0.0),
        measurement("block/conv", 0.9, 0.2),
        measurement("head", 0.0, 0.15, "int8"),
    ),
)


def test_what_to_leave_alone():
    assert REPORT.exclusions(max_drop=0.1) == ("stem", "head")
    assert REPORT.exclusions(0.1, sparsity=0.9) == ("stem", "block/conv", "head")
    assert REPORT.exclusions(0.25) == ("stem",)
    assert REPORT.exclusions(0.5) == ()
    with pytest.raises(ValueError, match="`max_drop` must be a finite number"):
        REPORT.exclusions("0.1")


def test_the_report_as_text_and_json():
    assert str(REPORT).splitlines() == [
        "loss 0.25 on 100 samples; by how much it is worse with one layer",
        "layer             50%        90%       int8",
        "stem              0.3        0.4          0",
        "block/conv          0        0.2          -",
        "head                -          -       0.15",
    ]
    again = json.loads(json.dumps(REPORT.to_dict()))
    assert again["rows"][1] == {
        "path": "stem",
        "change": "90%",
        "asked": 0.9,
        "sparsity": 0.9,
        "format": None,
        "value": 0.4,
        "drop": 0.4,
    }
    assert (again["metric"], again["baseline"], again["samples"]) == ("loss", 0.25, 100)


def test_long_names_of_formats_stay_apart_in_the_table():
    rows = [measurement("stem", 0.0, 0.1, f"learned-int{bits}") for bits in (2, 4)]
    table = str(perturbation.SensitivityReport("loss", 0.25, 100, tuple(rows)))
    head, *_ = table.splitlines()[1:]
    assert head.split() == ["layer", "learned-int2", "learned-int4"]


def test_the_plot(tmp_path, monkeypatch):
    REPORT.plot(tmp_path / "r.png")
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ValueError, match="needs matplotlib: pip install"):
        REPORT.plot(tmp_path / "r.png")


def test_long_runs_say_how_far_they_are(trained, monkeypatch, capsys):
    report_of(trained, sparsities=(0.5,))
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(perturbation, "_SECONDS", -1.0)
    report_of(trained, sparsities=(0.5,))
    said = capsys.readouterr()
    assert (
        said.err.splitlines()[1] == "qsparse.sensitivity: 1 of 4, now int8 of 'hidden'"
    )
    assert said.out == ""


def test_nothing_was_pruned(trained):
    report = report_of(trained, sparsities=())
    assert {row.format for row in report.rows} == {"int8"}
    with pytest.raises(ValueError, match="No layer was pruned"):
        _ = report.allocation


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"metric": "auc"}, "metric='auc' is no compiled metric"),
        ({"metric": lambda model: np.nan}, "is nan for the model as it is"),
        ({"data": []}, "data is empty"),
        ({"data": 5}, "data must hold samples.*Received: int"),
        ({"data": np.zeros((0, 16))}, "data is empty"),
        ({"data": np.ones((9, 16)), "metric": "loss"}, "There are no labels to meas"),
        ({"batches": 0}, "must be positive.*batches=0"),
        ({"sparsities": (75,)}, "Write 0.75 for 75%"),
        ({"formats": ("int9",)}, "`bits` must be 2 to 8"),
        ({"recipe": Recipe(criterion="saliency")}, "scores by gradients"),
        ({"recipe": Recipe(exclude="hiden")}, "'hiden' matches no layer"),
        ({"recipe": Recipe(exclude="*")}, "no layer to compress"),
    ],
)
def test_what_cannot_be_measured(trained, settings, message):
    model, data = trained
    before = values_of(model)
    settings = {"data": data, "recipe": Recipe("unstructured", 0.5), **settings}
    with pytest.raises((TypeError, ValueError), match=message):
        qsparse.sensitivity(model, **settings)
    assert_untouched(model, before)


def test_models_that_cannot_be_measured(pixels):
    plain = keras.Sequential([keras.Input((16,)), layers.Dense(8)])
    recipe = Recipe("unstructured", 0.5)
    with pytest.raises(ValueError, match="There is no compiled loss"):
        qsparse.sensitivity(plain, (pixels[0], pixels[1]), recipe)
    zero = keras.Sequential([keras.Input((16,)), layers.Dense(8)])
    zero.set_weights([w * 0 for w in zero.get_weights()])
    with pytest.raises(ValueError, match="are all zero, or not numbers"):
        qsparse.sensitivity(zero, pixels[0], recipe)
    qsparse.attach(plain, recipe)
    with pytest.raises(ValueError, match="carries a recipe. Measure a plain, built"):
        qsparse.sensitivity(plain, pixels[0], recipe)
    unbuilt = keras.Sequential([layers.Dense(8)])
    with pytest.raises(ValueError, match="is not built"):
        qsparse.sensitivity(unbuilt, pixels[0], recipe)
