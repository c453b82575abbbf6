"""Landing: what rounding costs a model that was pruned and rounded in training."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import qsparse
from qsparse import Recipe
from qsparse.callbacks import (
    Compress,
    Joint,
    Prune,
    PruneThenQuantize,
    Quantize,
    QuantizeThenPrune,
)
from tests import by_hand, perceptron
from tests.by_hand import norm
from tests.perceptron import mlp
from tests.untouched import assert_untouched, values_of

INT4 = {"pattern": "2:4", "format": "int4"}


@pytest.fixture(scope="module")
def data(images):
    return images[0][:250, 12:16, 12:16].reshape(250, 16), images[1][:250]


@pytest.fixture(scope="module")
def dense(data):
    """Return a perceptron that has learned something."""
    model = mlp()
    perceptron.fit(model, data, [], epochs=6)
    return model


def fitted_on(dense, data, callback):
    """Return a model that went on learning, pruned and rounded."""
    model = mlp()
    model.set_weights(dense.get_weights())
    perceptron.fit(model, data, [callback(**INT4)], epochs=6)
    return model


@pytest.fixture(scope="module")
def sparse(dense, data):
    return fitted_on(dense, data, PruneThenQuantize)


@pytest.fixture(scope="module", params=["S->Q", "Q->S"])
def either(request, dense, data, sparse):
    """Return a model in either order."""
    late = request.param == "Q->S"
    return fitted_on(dense, data, QuantizeThenPrune) if late else sparse


def masters_of(model):
    """Return the weights that a compressed perceptron holds, and its masks."""
    hidden, head = (model.get_layer(name) for name in ("hidden", "head"))
    found = []
    for layer in (hidden, head):
        mask = layer.qsparse.mask_variable.numpy()
        found.append((layer._kernel.numpy(), layer.bias.numpy(), mask))
    return found


def made(model, rounds):
    """Return a `Perceptron` of a compressed one, by hand, with its ranges."""
    order = model.get_layer("hidden").qsparse.state().recipe.order
    weights = []
    for kernel, bias, mask in masters_of(model):
        if rounds and order == "S->Q":
            kernel = by_hand.int4(kernel * mask)
        elif rounds:
            kernel = by_hand.int4(kernel)
        weights += [kernel * mask, bias]
    one = by_hand.Perceptron(weights, rounds)
    children = [model.get_layer(name).qsparse for name in ("hidden", "head")]
    quantizers = [child.input_quantizer for child in children]
    quantizers.append(children[1].output_quantizer)
    one.ranges = np.array([q.ranges.numpy()[0] for q in quantizers])
    return one


def test_a_model_with_rounding_and_without(either, data):
    """Both by hand, with the ranges that training found; and no threshold."""
    x, y = data
    before = values_of(either)
    order = either.get_layer("head").qsparse.state().recipe.order
    predicted = either.predict(x, verbose=0)
    found = qsparse.landed(either, data, batch_size=250)
    assert_untouched(either, before)
    np.testing.assert_array_equal(either.predict(x, verbose=0), predicted)
    assert (found.metric, found.less_is_better, found.samples) == ("loss", True, 250)
    assert (found.order, set(found.values)) == (order, {"pruned", order})
    plain, rounded = made(either, False), made(either, True)
    assert found.value("pruned") == pytest.approx(by_hand.loss(plain(x), y), rel=1e-4)
    assert found.value(order) == pytest.approx(by_hand.loss(rounded(x), y), rel=2e-3)
    assert found.value(order) == pytest.approx(by_hand.loss(predicted, y), rel=1e-4)
    cost = found.value(order) - found.value("pruned")
    assert found.cost == pytest.approx(cost)
    assert found.threshold is None and found.exceeding == ()
    plain(x[:16]), rounded(x[:16])
    for place, (row, (_, _, mask)) in enumerate(
        zip(found.layers, masters_of(either), strict=True)
    ):
        assert (row.path, row.format) == (("hidden", "head")[place], "int4")
        assert row.sparsity == pytest.approx(1 - mask.mean())
        flows = plain.flows[place]
        exact = flows @ plain.weights[2 * place]
        error = (
            exact
            - by_hand.int8(flows, *rounded.ranges[place]) @ (rounded.weights[2 * place])
        )
        assert row.sparse == pytest.approx(norm(error) / norm(exact), rel=2e-3)
        assert row.dense is None and not row.exceeds
        arriving = norm(rounded.flows[place] - flows) / norm(flows)
        assert row.arriving == pytest.approx(arriving, rel=5e-3, abs=1e-7)
    again = qsparse.landed(either, data, batch_size=250)
    assert again.to_dict() == found.to_dict() and again.values == found.values
    text = str(found)
    assert "No threshold: that takes a dense model, as baseline=." in text


def test_beside_a_baseline(either, dense, data):
    """The dense model is rounded by the recipe, without training."""
    x, y = data
    before = values_of(either), values_of(dense)
    found = qsparse.landed(either, data, baseline=dense, batch_size=250)
    assert_untouched(either, before[0])
    assert_untouched(dense, before[1])
    by_arm = by_hand.perceptrons(dense, [x])
    for arm in ("dense", "quantized"):
        wanted = by_hand.loss(by_arm[arm](x), y)
        assert found.value(arm) == pytest.approx(wanted, rel=2e-3)
    alone = qsparse.landed(either, data, batch_size=250)
    limit = alone.value("pruned") + found.value("quantized") - found.value("dense")
    assert found.threshold.value == pytest.approx(limit)
    assert found.threshold.exceeds == pytest.approx(found.value(found.order) - limit)
    assert found.threshold.verdict == "not told apart"  # One batch.
    by_arm["dense"](x[:16])
    for place, (row, other) in enumerate(zip(found.layers, alone.layers, strict=True)):
        flows = by_arm["dense"].flows[place]
        exact = flows @ by_arm["dense"].weights[2 * place]
        rounded = by_hand.int8(flows, *by_arm["quantized"].ranges[place])
        error = exact - rounded @ by_arm["quantized"].weights[2 * place]
        assert row.dense == pytest.approx(norm(error) / norm(exact), rel=2e-3)
        assert (row.sparse, row.arriving) == (other.sparse, other.arriving)
        assert row.exceeds == (row.sparse > row.dense) == (row.path in found.exceeding)
    written = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert written["threshold"]["half_interval"] is None
    assert written["exceeding"] == list(found.exceeding)
    assert "without interaction it would be" in str(found)


def test_intervals_by_batches(sparse, dense, data):
    found = qsparse.landed(sparse, data, baseline=dense, batch_size=50)
    arms = {arm: np.array(values) for arm, values in found.values.items()}
    worse = arms[found.order] - arms["pruned"] - arms["quantized"] + arms["dense"]
    half = 2.776 * worse.std(ddof=1) / np.sqrt(5)
    assert len(worse) == 5
    assert found.threshold.half_interval == pytest.approx(half, rel=1e-3)
    assert found.threshold.exceeds == pytest.approx(worse.mean())


def test_data_and_metrics(sparse, dense, data, tmp_path):
    x, y = data
    accuracy = qsparse.landed(sparse, data, "accuracy", baseline=dense)
    assert not accuracy.less_is_better
    correct = sparse.predict(x, verbose=0).argmax(axis=1) == y
    assert accuracy.value(accuracy.order) == pytest.approx(correct.mean())
    # Keras counts in single precision.
    cost = accuracy.value("pruned") - correct.mean()
    assert accuracy.cost == pytest.approx(cost, abs=1e-6)
    # Keras builds the compiled metrics of a model from a file with its first batch.
    dense.save(tmp_path / "dense.keras")
    loaded = keras.models.load_model(tmp_path / "dense.keras")
    again = qsparse.landed(sparse, data, "accuracy", baseline=loaded)
    assert again.values == accuracy.values
    noise = qsparse.landed(sparse, x, baseline=dense)
    assert noise.metric == "noise" and noise.value("pruned") == 0.0
    assert noise.value("dense") == 0.0 < noise.cost
    batches = tf.data.Dataset.from_tensor_slices(data).batch(50)
    found = qsparse.landed(sparse, batches, batches=3)
    assert found.samples == 150 and len(found.weights) == 3


@pytest.mark.parametrize(("error", "call"), [(KeyboardInterrupt, 2), (RuntimeError, 4)])
def test_what_ends_it_leaves_both_models_as_they_were(sparse, dense, data, error, call):
    before, calls = (values_of(sparse), values_of(dense)), []

    def metric(model):
        model.test_on_batch(*data)
        calls.append(1)
        if len(calls) == call:
            raise error
        return 0.0

    with pytest.raises(error):
        qsparse.landed(sparse, data, metric, baseline=dense)
    assert_untouched(sparse, before[0])
    assert_untouched(dense, before[1])
    assert not type(dense.layers[0]).__module__.startswith("qsparse")


def test_training_goes_on_as_if_nothing_had_been(dense, data):
    """In the middle of a recipe, with scales and ranges that the optimizer trains."""
    models = []
    recipe = Recipe("2:4", format="learned-int4", observer="lsq", quantize_from=0.0)
    for looks in (False, True):
        model = mlp()
        model.set_weights(dense.get_weights())
        baseline = mlp()
        baseline.set_weights(dense.get_weights())
        perceptron.fit(baseline, data, [], epochs=1)
        perceptron.fit(model, data, [Compress(recipe, total_epochs=2)], epochs=1)
        before = values_of(model), values_of(baseline)
        if looks:
            qsparse.landed(model, data, baseline=baseline)
        assert_untouched(model, before[0])
        assert_untouched(baseline, before[1])
        perceptron.fit(model, data, [Compress(recipe, total_epochs=2)], epochs=1)
        perceptron.fit(baseline, data, [], epochs=1)
        models.append((model, baseline))
    for ours, theirs in zip(*models, strict=True):
        assert_untouched(ours, values_of(theirs))


def test_what_has_not_landed(sparse, dense, data):
    plain = mlp()
    with pytest.raises(ValueError, match="no recipe that has begun.*qsparse.analyse"):
        qsparse.landed(plain, data)
    qsparse.attach(plain, Recipe("2:4"))
    with pytest.raises(ValueError, match="no recipe that has begun.*qsparse.analyse"):
        qsparse.landed(plain, data)
    pruned = mlp()
    perceptron.fit(pruned, data, [Prune("2:4")], epochs=2)
    with pytest.raises(ValueError, match="does not quantize"):
        qsparse.landed(pruned, data)
    bare = mlp()
    bare.compiled = False
    with pytest.raises(ValueError, match="baseline is not compiled.*metric='noise'"):
        qsparse.landed(sparse, data, baseline=bare)
    with pytest.raises(ValueError, match="carries a recipe.*after qsparse.strip"):
        qsparse.landed(sparse, data, baseline=pruned)
    other = keras.Sequential([keras.Input((16,)), layers.Dense(12, name="head")])
    other.compile("sgd", dense.loss)
    before = values_of(other)
    with pytest.raises(ValueError, match="of the model's structure.*layer 'hidden'"):
        qsparse.landed(sparse, data, baseline=other)
    assert_untouched(other, before)
    unbuilt = keras.Sequential([layers.Dense(12, name="head")])
    with pytest.raises(ValueError, match="is not built"):
        qsparse.landed(sparse, data, baseline=unbuilt)
    with pytest.raises(ValueError, match="is no compiled metric"):
        qsparse.landed(sparse, data, "auc")
    with pytest.raises(TypeError, match="data must hold samples"):
        qsparse.landed(sparse, 5)


def test_rounding_that_has_not_begun(data):
    """A recipe that has only pruned so far has landed nowhere."""
    model = mlp()
    recipe = Recipe("2:4", format="int4")
    callback = Compress(recipe, total_epochs=40)
    perceptron.fit(model, data, [callback], epochs=2, validation_data=data)
    before = values_of(model)
    with pytest.raises(ValueError, match="has not begun to round.*Train on"):
        qsparse.landed(model, data)
    assert_untouched(model, before)
    assert callback.interaction is None


def test_what_a_callback_says(dense, data):
    x, y = data
    model = mlp()
    model.set_weights(dense.get_weights())
    callback = PruneThenQuantize(**INT4, baseline=dense)
    assert callback.interaction is None
    during = []
    watch = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda *_: during.append(callback.interaction)
    )
    train, rest = (x[:200], y[:200]), (x[200:], y[200:])
    perceptron.fit(model, train, [callback, watch], epochs=4, validation_data=rest)
    assert during == [None] * 4
    before = values_of(model)
    found = callback.interaction
    assert_untouched(model, before)
    assert isinstance(found, qsparse.Landing)
    assert found.samples == 50 and found.threshold is not None
    direct = qsparse.landed(model, rest, baseline=dense)
    assert found.to_dict() == direct.to_dict()
    assert callback.interaction is found
    assert found.value("S->Q") == pytest.approx(model.evaluate(*rest, verbose=0)[0])
    # What one fit found is not what the next does.
    perceptron.fit(model, train, [callback], epochs=1)
    assert callback.interaction is None
    perceptron.fit(model, train, [callback], epochs=1, validation_data=rest)
    qsparse.strip(model)
    assert callback.interaction is None


@pytest.mark.parametrize("given", ["split", "list", "weighted", "dataset", "used up"])
def test_validation_of_any_kind(data, given):
    x, y = data
    train, rest = (x[:200], y[:200]), (x[200:], y[200:])
    weights = np.ones(50, np.float32)
    settings = {
        "split": {"validation_split": 0.2},
        "list": {"validation_data": list(rest)},
        "weighted": {"validation_data": (*rest, weights)},
        "dataset": {
            "validation_data": tf.data.Dataset.from_tensor_slices(rest).batch(25)
        },
        "used up": {"validation_data": (rest for _ in range(9)), "validation_steps": 1},
    }[given]
    model, callback = mlp(), Joint(**INT4)
    data = data if given == "split" else train
    perceptron.fit(model, data, [callback], epochs=1, **settings)
    found = callback.interaction
    if given == "used up":
        assert found is None
        return
    assert found.samples == 50 and found.threshold is None
    wanted = model.evaluate(*rest, verbose=0)[0]
    assert found.value("S->Q") == pytest.approx(wanted, rel=1e-4)


def test_callbacks_that_have_nothing_to_say(data):
    """One kind of change alone, or no validation."""
    for callback in (Prune("2:4"), Quantize(), Joint("2:4")):
        both = callback.recipe.prunes and callback.recipe.quantizes
        settings = {} if both else {"validation_data": data}
        perceptron.fit(mlp(), data, [callback], epochs=1, **settings)
        assert callback.interaction is None


def test_a_model_with_normalizations_and_odd_layers(images):
    """Depthwise, shared and left alone, in half precision; the baseline from a file."""
    x, y = images[0][:64, 8:20, 8:20], images[1][:64]

    def build():
        keras.utils.set_random_seed(4)
        inputs = keras.Input((12, 12, 1))
        z = layers.Conv2D(8, 3, strides=2, padding="same", name="stem")(inputs)
        z = layers.BatchNormalization(name="norm")(z)
        z = layers.DepthwiseConv2D(3, name="depthwise")(z)
        twice = layers.Dense(8, activation="relu", name="twice")
        z = twice(twice(layers.GlobalAveragePooling2D(name="pool")(z)))
        z = layers.Dense(12, name="head", dtype="float32")(z)
        model = keras.Model(inputs, z)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile("adam", loss)
        return model

    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model, baseline = build(), build()
    finally:
        keras.config.set_dtype_policy("float32")
    baseline.fit(x, y, verbose=0)
    callback = Joint("unstructured", 0.5, exclude="head", baseline=baseline)
    model.fit(x, y, verbose=0, epochs=2, callbacks=[callback], validation_split=0.5)
    before = values_of(model), values_of(baseline)
    found = callback.interaction
    assert_untouched(model, before[0])
    assert_untouched(baseline, before[1])
    rows = {row.path: row for row in found.layers}
    assert set(rows) == {"stem", "depthwise", "twice"}
    assert rows["depthwise"].sparse is None and rows["depthwise"].sparsity == 0.0
    for path in ("stem", "twice"):
        assert 0 < rows[path].sparse < 0.1 and 0 < rows[path].dense < 0.1
    json.dumps(found.to_dict(), allow_nan=False)
    assert "depthwise" in str(found)


def test_a_baseline_that_is_none_is_an_error_before_training(data):
    with pytest.raises(ValueError, match="`baseline` must be a dense model.*'m.keras'"):
        PruneThenQuantize(**INT4, baseline="m.keras")
    model = mlp()
    with pytest.raises(ValueError, match="`baseline` is the model that fit trains"):
        perceptron.fit(model, data, [PruneThenQuantize(**INT4, baseline=model)])
