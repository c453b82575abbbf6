"""Interaction: every arm of a model by hand, and the model given back as it was."""

import json

import keras
import numpy as np
import pytest
from keras import layers

import qsparse
from qsparse import Recipe
from tests import by_hand
from tests.by_hand import ARMS, RECIPE, norm
from tests.perceptron import mlp
from tests.untouched import assert_given_back, values_of


def test_every_arm_is_a_model_changed_by_hand(report, expected):
    made, batches = expected
    assert (report.metric, report.less_is_better, report.samples) == ("loss", True, 250)
    assert (report.order, report.orders) == ("S->Q", ("S->Q", "Q->S"))
    assert tuple(report.values) == ARMS
    sizes = [len(x) for x, _ in batches]
    for arm in ARMS:
        wanted = [by_hand.loss(made[arm](x), y) for x, y in batches]
        assert report.values[arm] == pytest.approx(wanted, rel=2e-3)
        mean = np.average(wanted, weights=sizes)
        assert report.value(arm) == pytest.approx(mean, rel=1e-3)
    # What both cost is far more than what these differ by.
    assert report.value("S->Q") - report.value("dense") > 0.05
    with pytest.raises(KeyError):
        report.value("both")


def test_thresholds(report):
    by_arm = {arm: np.array(report.values[arm]) for arm in ARMS}
    for order in ("S->Q", "Q->S"):
        found = report.threshold(order)
        value = report.value("pruned") + report.value("quantized")
        value -= report.value("dense")
        assert found.value == pytest.approx(value)
        assert found.both == pytest.approx(report.value(order))
        assert found.exceeds == pytest.approx(report.value(order) - value)
        worse = by_arm[order] - by_arm["pruned"] - by_arm["quantized"] + by_arm["dense"]
        half = 3.182 * worse.std(ddof=1) / 2  # Student's t of 3 degrees; 4 batches
        assert found.half_interval == pytest.approx(half, rel=1e-3)
        low, high = found.exceeds - half, found.exceeds + half
        verdict = "not orthogonal" if low > 0 else "not told apart"
        assert found.verdict == ("orthogonal" if high <= 0 else verdict)
    assert report.threshold() == report.threshold("S->Q")


def test_every_layer_against_numpy(trained, report, expected):
    model, (x, _) = trained
    made, _ = expected
    for place, row in enumerate(report.layers):
        weights = model.get_weights()[2 * place]
        forms = by_hand.forms(weights)
        assert row.path == ("hidden", "head")[place]
        assert (row.weights, row.format) == (weights.size, "int4")
        assert row.sparsity == pytest.approx((forms["pruned"] == 0).mean())
        errors = {arm: norm(weights - form) for arm, form in forms.items()}
        assert row.tensor.size == pytest.approx(norm(weights))
        assert row.tensor.pruned == pytest.approx(errors["pruned"])
        assert row.tensor.quantized == pytest.approx(errors["quantized"], rel=1e-5)
        assert row.tensor.pruned_first == pytest.approx(errors["S->Q"], rel=1e-5)
        assert row.tensor.quantized_first == pytest.approx(errors["Q->S"], rel=1e-5)
        masks = by_hand.mask(weights), by_hand.mask(forms["quantized"])
        assert row.swapped == pytest.approx((masks[0] != masks[1]).mean())

        # 16 samples are looked at, with the ranges of the model that is quantized.
        made["dense"](x[:16])
        flows = made["dense"].flows[place]
        rounded = by_hand.int8(flows, *made["quantized"].ranges[place])
        whole = flows @ weights
        pruned, quantized = (
            whole - inputs @ forms[arm]
            for arm, inputs in (("pruned", flows), ("quantized", rounded))
        )
        size = norm(whole)
        assert row.product.pruned == pytest.approx(norm(pruned) / size, rel=1e-4)
        assert row.product.quantized == pytest.approx(norm(quantized) / size, rel=1e-3)
        for order in ("S->Q", "Q->S"):
            both = whole - rounded @ forms[order]
            found = norm(both) / size
            assert row.product.both[order] == pytest.approx(found, rel=1e-3)
            alone = np.abs(pruned) + np.abs(quantized)
            beyond = (np.abs(both) > alone).mean()
            assert row.product.beyond[order] == pytest.approx(beyond, abs=0.011)
            exceeds = found > row.product.pruned + row.product.quantized
            assert (
                row.exceeds(order) == exceeds == (row.path in report.exceeding(order))
            )
        assert set(row.arriving) == set(ARMS) - {"dense"}
        for arm, error in row.arriving.items():
            made[arm](x[:16])
            wanted = norm(made[arm].flows[place] - flows) / norm(flows)
            assert error == pytest.approx(wanted, rel=5e-3, abs=1e-7)
    assert set(report.layers[0].arriving.values()) == {0.0}


def test_the_report_as_text_json_and_plot(report, tmp_path):
    again = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert again["values"] == {arm: report.value(arm) for arm in ARMS}
    assert set(again["thresholds"]) == {"S->Q", "Q->S"}
    exceeding = again["thresholds"]["S->Q"]["layers"]
    assert exceeding == list(report.exceeding())
    assert [row["path"] for row in again["layers"]] == ["hidden", "head"]
    text = str(report)
    assert text.startswith("loss on 250 samples\n  dense")
    assert "without interaction it would be" in text
    assert [line.split()[0] for line in text.splitlines()[-2:]] == ["hidden", "head"]
    report.plot(tmp_path / "r.png")
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")


def small(norms=True):
    """Return a compiled, untrained network of convolutions, with stale statistics."""
    keras.utils.set_random_seed(5)
    stem = [layers.Conv2D(8, 3, strides=2, use_bias=False, name="stem")]
    stem += [layers.BatchNormalization(name="norm")] * norms
    rest = [layers.ReLU(), layers.GlobalAveragePooling2D(), layers.Dense(12)]
    model = keras.Sequential([keras.Input((12, 12, 1)), *stem, *rest])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def test_training_goes_on_as_if_nothing_had_been(images):
    """With BatchNormalization; beside a copy that nobody looked at."""
    data = images[0][:64, 8:20, 8:20], images[1][:64]
    recipe = Recipe("2:4", format="learned-int4", observer="lsq")
    ours, theirs = small(), small()
    for model in (ours, theirs):
        model.fit(*data, epochs=1, verbose=0, shuffle=False)
    logs = ours.evaluate(*data, verbose=0), ours.predict(data[0], verbose=0)
    before = values_of(ours)
    qsparse.analyse(ours, recipe, data, batch_size=32)
    assert_given_back(ours, before)
    assert ours.evaluate(*data, verbose=0) == logs[0]
    np.testing.assert_array_equal(ours.predict(data[0], verbose=0), logs[1])
    for model in (ours, theirs):
        model.fit(*data, epochs=2, verbose=0, shuffle=False)
    for a, b in zip(values_of(ours), values_of(theirs), strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_optimizer_that_scales_the_loss(images):
    """It trains scales and ranges meanwhile, and forgets them."""
    x, y = images[0][:40, 12:16, 12:16].reshape(40, 16), images[1][:40]
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = mlp()
    finally:
        keras.config.set_dtype_policy("float32")
    model.fit(x, y, verbose=0)
    before = values_of(model)
    qsparse.analyse(model, Recipe("2:4", format="learned-int4", observer="lsq"), x)
    assert_given_back(model, before)
    model.fit(x, y, verbose=0)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_what_ends_it_leaves_the_model_as_it_was(images, error):
    model, data = small(), (images[0][:32, 8:20, 8:20], images[1][:32])
    model.fit(*data, verbose=0)
    before, calls = values_of(model), []

    def metric(model):
        calls.append(float(np.square(model.predict_on_batch(data[0])).sum()))
        if len(calls) == 4:
            raise error
        return 0.0

    with pytest.raises(error):
        qsparse.analyse(model, RECIPE, data, metric)
    assert len(set(calls)) == 4
    assert_given_back(model, before)
    model.fit(*data, verbose=0)


def outputs(x):
    """Return a metric: what the outputs come to."""

    def power(model):
        return float(np.square(model.predict_on_batch(x)).mean())

    return power


def test_statistics_are_estimated_anew_in_each_arm(images):
    model, x = small(), images[0][:40, 8:20, 8:20]
    kernel, gamma, beta, mean, variance, *head = model.get_weights()
    stale = qsparse.analyse(
        model, Recipe("2:4", format="int4"), x, outputs(x), renormalize=False
    )
    assert stale.value("dense") == pytest.approx(outputs(x)(model), rel=1e-5)
    found = qsparse.analyse(
        model, Recipe("2:4", format="int4"), x, outputs(x), batch_size=40
    )
    for arm in ("dense", "pruned"):
        by_arm = keras.models.clone_model(model)
        made = by_hand.forms(head[0])[arm]
        by_arm.set_weights([kernel, gamma, beta, mean, variance, made, head[1]])
        assert stale.value(arm) == pytest.approx(outputs(x)(by_arm), rel=1e-4)
        # Stem has 9 rows of one input each, where 2:4 does not fit.
        sums = np.asarray(by_arm.layers[0](x), np.float64)
        moments = sums.mean(axis=(0, 1, 2)), sums.var(axis=(0, 1, 2))
        by_arm.set_weights([kernel, gamma, beta, *moments, made, head[1]])
        assert found.value(arm) == pytest.approx(outputs(x)(by_arm), rel=1e-4)
    assert abs(found.value("dense") / stale.value("dense") - 1) > 0.1
