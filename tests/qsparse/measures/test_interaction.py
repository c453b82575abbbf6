"""Interaction: every arm of a model by hand, and the model given back as it was."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import qsparse
from qsparse import Recipe
from qsparse.methods.formats import LearnedInt
from tests import by_hand, perceptron
from tests.by_hand import ARMS, norm
from tests.perceptron import mlp

RECIPE = Recipe("2:4", format="int4", observer="min-max")


def values_of(model):
    """Return all that a model and its optimizer hold."""
    held = [*model.variables, *model.metrics_variables]
    if getattr(model, "optimizer", None) is not None:
        held += model.optimizer.variables
    return [np.array(v.numpy()) for v in held]


def assert_untouched(model, before):
    for ours, theirs in zip(values_of(model), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for layer in model._flatten_layers():
        assert not type(layer).__module__.startswith("qsparse"), layer


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
    assert_untouched(model, before)
    return found


@pytest.fixture(scope="module")
def expected(trained):
    """Return the arms by hand, and the batches they have seen."""
    model, (x, y) = trained
    batches = [(x[i : i + 64], y[i : i + 64]) for i in range(0, 250, 64)]
    return by_hand.perceptrons(model, [x for x, _ in batches]), batches


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
    assert_untouched(ours, before)
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
    assert_untouched(model, before)
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
    assert_untouched(model, before)
    model.fit(*data, verbose=0)


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


def outputs(x):
    """Return a metric: what the outputs come to."""

    def power(model):
        return float(np.square(model.predict_on_batch(x)).mean())

    return power


class Batches(keras.utils.PyDataset):
    def __init__(self, x, y):
        super().__init__()
        self.x, self.y = x, y

    def __len__(self):
        return len(self.x) // 50

    def __getitem__(self, index):
        rows = slice(50 * index, 50 * index + 50)
        return self.x[rows], self.y[rows]


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
    assert_untouched(model, before)
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
    assert_untouched(model, before)


def test_a_warning_that_raises_leaves_the_model_as_it_was(trained):
    """All that there is to warn of is said when the recipe is on."""
    model, data = trained
    before = values_of(model)
    recipe = Recipe("unstructured", 0.5, format="int4", allocation="uniform+")
    with pytest.raises(UserWarning, match="they hold"):
        qsparse.analyse(model, recipe, data)
    assert_untouched(model, before)


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
    assert_untouched(model, before)


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
    assert_untouched(model, before)


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
    assert_untouched(model, before)
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
    assert_untouched(model, before)
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
    assert_untouched(model, before)
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
