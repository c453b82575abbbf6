"""A model, a recipe and some samples: as if a training had carried the recipe out."""

import itertools
from dataclasses import dataclass
from typing import ClassVar

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import qsparse
from qsparse.callbacks import Compress
from qsparse.engine.compressor import attach, compressed_layers, state_of
from qsparse.engine.feed import read
from qsparse.engine.state import Switches
from qsparse.keras_compat import walk_layers
from qsparse.methods.formats import Int8
from qsparse.oneshot import ONE_SHOT
from qsparse.oneshot import run as run_module
from qsparse.oneshot.watch import stops
from tests.conftest import compiled, small_cnn
from tests.perceptron import fit, mlp

RECIPES = {
    "2:4 int8": qsparse.Recipe("2:4"),
    "4x4 int8": qsparse.Recipe("4x4", 0.5),
    "unstructured": qsparse.Recipe("unstructured", 0.6, quantize=False),
    "Q->S": qsparse.Recipe("1:4 of 4x4", order="Q->S", prune_until=70),
    "int8": qsparse.Recipe(pattern=None, freeze_statistics_from=0.5),
}


def quiet(model, recipe, data, *args, **settings):
    return qsparse.one_shot(model, recipe, data, *args, verbose=0, **settings)


@pytest.fixture(scope="module")
def trained(images):
    """Return the weights of a CNN that has learnt something."""
    keras.utils.set_random_seed(7)
    model = small_cnn()
    model.fit(*images, epochs=4, batch_size=64, verbose=0)
    return model.get_weights()


@pytest.fixture
def cnn(trained):
    model = small_cnn()
    model.set_weights(trained)
    model.optimizer.build(model.trainable_variables)
    return model


@pytest.mark.parametrize("name", RECIPES)
def test_it_is_as_if_the_recipe_had_been_carried_out(name, cnn, images, tmp_path):
    recipe, x = RECIPES[name], images[0][:96]
    plans = {plan.path: plan for plan in qsparse.resolve(cnn, recipe)}
    report = quiet(cnn, recipe, x, batch_size=48)
    assert qsparse.unfinished(cnn) is None
    state = state_of(cnn)
    assert state.recipe == recipe
    assert state.fake_quantizes == recipe.quantize
    assert state.switches.statistics_frozen == recipe.freezes_statistics()
    for layer in compressed_layers(cnn):
        plan, mask = plans[layer.path_in_model], layer.canonical_mask()
        kernel = layer.layout.canonical(np.asarray(layer.effective_kernel()))
        assert (mask is None) == (plan.pattern is None)
        if mask is not None:
            scores = np.random.default_rng(0).random(mask.shape)
            assert mask.sum() == plan.pattern.mask(scores, plan.sparsity).sum()
            assert (kernel[~mask] == 0).all()
        if not layer.path_in_model.startswith("depthwise"):
            np.testing.assert_array_equal(kernel, layer.master())
        if recipe.quantize:
            q, scale = Int8().encode(kernel)
            np.testing.assert_array_equal(q.astype("float32") * scale, kernel)
            low, high = layer.input_quantizer.ranges.numpy()[0]
            assert low <= 0 < high
    for row in report.layers:
        assert row.error <= row.magnitude
        if plans[row.path].pattern is not None:
            assert row.sparsity == pytest.approx(plans[row.path].sparsity, abs=0.03)
    expected = cnn.predict(x, verbose=0)
    cnn.save(tmp_path / "m.keras")
    again = qsparse.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(again.predict(x, verbose=0), expected)
    assert qsparse.unfinished(again) is None
    plain = keras.models.load_model(tmp_path / "m.keras")
    baked = qsparse.strip(cnn).predict(x, verbose=0)
    np.testing.assert_allclose(plain.predict(x, verbose=0), baked, atol=1e-5)
    assert type(cnn.layers[1]) is layers.Conv2D


def test_each_layer_is_solved_on_what_the_compressed_ones_before_it_hand_on(pixels):
    model = mlp()
    fit(model, pixels, [])
    before = [w.astype(np.float64) for w in model.get_weights()]
    x = pixels[0].astype(np.float64)
    report = quiet(model, qsparse.Recipe("2:4"), pixels[0])
    hidden, head = (
        layer.master()[0].astype(float) for layer in compressed_layers(model)
    )
    out = x @ before[0]
    error = ((x @ hidden - out) ** 2).sum() / (out**2).sum()
    assert report.layers[0].error == pytest.approx(error, rel=1e-4)
    between = np.maximum(x @ hidden + before[1], 0)
    out = between @ before[2]
    error = ((between @ head - out) ** 2).sum() / (out**2).sum()
    assert report.layers[1].error == pytest.approx(error, rel=1e-4)
    assert [row.path for row in report.layers] == ["hidden", "head"]
    assert "hidden" in str(report) and report.samples == len(x)
    assert report.to_dict()["layers"][0]["path"] == "hidden"


def test_ranges_are_those_of_the_observer(pixels):
    model = mlp()
    momentum = 0.7
    recipe = qsparse.Recipe("2:4", observer=qsparse.MovingAverage(momentum))
    quiet(model, recipe, pixels[0], batch_size=100)
    low = high = None
    for start in (0, 100, 200):
        batch = pixels[0][start : start + 100]
        ends = min(batch.min(), 0), max(batch.max(), 0)
        if low is None:
            low, high = ends
        else:
            low = momentum * low + (1 - momentum) * ends[0]
            high = momentum * high + (1 - momentum) * ends[1]
    found = compressed_layers(model)[0].input_quantizer.ranges.numpy()[0]
    np.testing.assert_allclose(found, [low, high], rtol=1e-5)
    state = state_of(model)
    model(pixels[0] * 9, training=False)
    again = compressed_layers(model)[0].input_quantizer.ranges.numpy()[0]
    np.testing.assert_array_equal(found, again)
    assert not state.calibrating


def test_training_goes_on_with_the_masks(pixels):
    model, recipe = mlp(), qsparse.Recipe("2:4")
    quiet(model, recipe, pixels[0])
    masks = [layer.canonical_mask() for layer in compressed_layers(model)]
    values = [layer.master() for layer in compressed_layers(model)]
    step = state_of(model).time().step
    history = fit(model, pixels, [Compress(recipe)], epochs=3).history
    assert history["phase"] == [3.0] * 3
    assert history["loss"][-1] < history["loss"][0]
    assert state_of(model).time().step == step + 30
    layers_now = compressed_layers(model)
    for layer, mask, value in zip(layers_now, masks, values, strict=True):
        np.testing.assert_array_equal(layer.canonical_mask(), mask)
        assert (layer.master() != value).any()
    assert qsparse.unfinished(model) is None


def test_it_loses_less_than_magnitude(cnn, trained, images, test_images):
    x, y = (part[:1000] for part in test_images)
    dense = cnn.evaluate(x, y, verbose=0)[1]
    right = {}
    for method in ("magnitude", "sparsegpt", "obs"):
        cnn = small_cnn()
        cnn.set_weights(trained)
        quiet(cnn, qsparse.Recipe("4x4", 0.5), images[0][:160], method, batch_size=80)
        right[method] = cnn.evaluate(x, y, verbose=0)[1]
    assert right["magnitude"] < dense - 0.1
    assert min(right["sparsegpt"], right["obs"]) > right["magnitude"] + 0.1
    assert min(right["sparsegpt"], right["obs"]) > dense - 0.06


def test_its_export_is_verified(cnn, images, tmp_path):
    quiet(cnn, qsparse.Recipe("4x4", 0.5), images[0][:128], batch_size=64)
    masks = [layer.mask() for layer in compressed_layers(cnn)]
    report = qsparse.export(
        cnn, tmp_path / "m.tflite", representative_data=images[0][:128]
    )
    assert report.int8_share == 1.0
    assert report.ranges["calibrated"] == 0
    assert report.parity.max_lsb <= 2
    zeros = sum(int((~mask).sum()) for mask in masks if mask is not None)
    assert sum(m.sparsity * m.weights for m in report.layers) >= zeros - 0.5


def test_statistics_are_the_mean_over_the_batches(images):
    x = images[0][:100, :6, :6]
    inputs = keras.Input((6, 6, 1))
    y = layers.Dropout(0.5)(layers.BatchNormalization()(inputs))
    y = layers.BatchNormalization(trainable=False, name="kept")(y)
    model = keras.Model(inputs, layers.Dense(4)(layers.Flatten()(y)))
    norm, frozen = model.layers[1], model.get_layer("kept")
    report = quiet(model, qsparse.Recipe("2:4"), x, batch_size=32)
    batches = [x[start : start + 32] for start in range(0, 100, 32)]
    means = sum(len(b) * b.mean() for b in batches) / 100
    variances = sum(len(b) * b.var() for b in batches) / 100
    assert float(norm.moving_mean[0]) == pytest.approx(means, rel=1e-4)
    assert float(norm.moving_variance[0]) == pytest.approx(variances, rel=1e-4)
    assert float(frozen.moving_mean[0]) == 0.0 and report.renormalized == 1
    assert type(norm) is layers.BatchNormalization and norm.momentum == 0.99
    assert not hasattr(norm, "qsparse")


def test_statistics_stay_if_asked_to(cnn, images):
    norms = [x for x in cnn.layers if isinstance(x, layers.BatchNormalization)]
    before = [norm.moving_variance.numpy() for norm in norms]
    recipe = qsparse.Recipe("2:4", freeze_statistics_from=0.0)
    report = quiet(cnn, recipe, images[0][:64], renormalize=False)
    assert report.renormalized == 0
    for norm, value in zip(norms, before, strict=True):
        np.testing.assert_array_equal(norm.moving_variance.numpy(), value)
    cnn = small_cnn()
    assert quiet(cnn, recipe, images[0][:64]).renormalized == 2
    assert state_of(cnn).switches.statistics_frozen


class Batches(keras.utils.PyDataset):
    """Two inputs in batches of 30, with labels."""

    def __init__(self, x, y):
        super().__init__()
        self.x, self.y = x, y

    def __len__(self):
        return 3

    def __getitem__(self, index):
        at = slice(index * 30, index * 30 + 30)
        return {key: value[at] for key, value in self.x.items()}, self.y[at]


def two_inputs():
    keras.utils.set_random_seed(1)
    a, b = keras.Input((16,), name="a"), keras.Input((16,), name="b")
    shared = layers.Dense(16, activation="relu", name="shared")
    x = layers.Concatenate()([shared(a), shared(b)])
    return compiled(keras.Model({"a": a, "b": b}, layers.Dense(12)(x)))


def test_data_in_any_form(pixels):
    x, y = pixels[0][:90], pixels[1][:90]
    data = {"a": x, "b": x[::-1] * 0.5}
    dataset = tf.data.Dataset.from_tensor_slices((data, y)).batch(40)
    forms = [data, dataset, Batches(data, y), (b for b in dataset)]
    found = []
    for form in forms:
        model = two_inputs()
        quiet(model, qsparse.Recipe("2:4"), form)
        found.append(model.get_weights())
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(one, two)


def test_a_shared_layer_is_solved_on_all_its_calls(pixels):
    x = pixels[0][:90].astype(np.float64)
    model = two_inputs()
    before = model.get_layer("shared").get_weights()[0].astype(np.float64)
    report = quiet(model, qsparse.Recipe("2:4"), {"a": x, "b": x[::-1] * 0.5})
    both = np.concatenate([x, x[::-1] * 0.5])
    (layer,) = [c for c in compressed_layers(model) if c.path_in_model == "shared"]
    off = both @ (layer.master()[0] - before)
    error = (off**2).sum() / ((both @ before) ** 2).sum()
    assert report.layers[0].error == pytest.approx(error, rel=1e-3)


def attention():
    inputs = keras.Input((5, 16))
    x = layers.MultiHeadAttention(2, 8, name="attention")(inputs, inputs)
    return keras.Model(inputs, layers.Dense(8, name="last")(x))


def test_layers_that_see_the_same_share_a_stop_as_memory_allows():
    model = attention()
    attach(model, qsparse.Recipe("2:4"))
    feed = read(model, np.ones((2, 5, 16), "float32"), 2, "data")
    watched = compressed_layers(model)

    def names(memory):
        way = stops(model, feed, watched, memory)
        return [[x.path_in_model.split("/")[-1] for x in stop.layers] for stop in way]

    assert names(1 << 20) == [
        ["query", "key", "value"],
        ["attention_output"],
        ["last"],
    ]
    one = 8 * 16 * 16
    assert names(2 * one)[:2] == [["query", "key"], ["value"]]
    assert sorted(itertools.chain(*names(one))) == sorted(
        itertools.chain(*names(1 << 20))
    )
    assert all(layer.watcher is None for layer in watched)


def test_layers_of_every_kind():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((12, 8))
    x = layers.Conv1D(16, 3, strides=2, padding="causal", dilation_rate=1)(inputs)
    x = layers.TimeDistributed(layers.Dense(16, activation="relu"))(x)
    x = layers.MultiHeadAttention(2, 8)(x, x)
    x = layers.Conv1D(16, 3, padding="same", groups=2, name="grouped")(x)
    model = keras.Model(inputs, layers.Dense(12)(layers.GlobalAveragePooling1D()(x)))
    x = np.random.default_rng(0).normal(size=(40, 12, 8)).astype("float32")
    report = quiet(model, qsparse.Recipe("2:4"), x)
    assert len(report.layers) == 7 and report.rounded == ("grouped",)
    assert "grouped" in str(report)
    assert qsparse.unfinished(model) is None


def snapshot(model):
    kinds = [type(layer) for _, layer in walk_layers(model)]
    return kinds, [np.array(w) for w in model.get_weights()]


def unchanged(before, model):
    kinds, weights = snapshot(model)
    assert kinds == before[0]
    for one, two in zip(before[1], weights, strict=True):
        np.testing.assert_array_equal(one, two)


BAD = {
    "nan": (np.full((8, 28, 28, 1), np.nan, "float32"), "data of input .* holds NaN"),
    "empty": (np.zeros((0, 28, 28, 1), "float32"), "data is empty"),
    "shape": (np.zeros((8, 28, 28), "float32"), "data for input .* has shape"),
    "inputs": ({"other": np.zeros((8, 28, 28, 1))}, "data lacks the inputs"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_data_is_one_error_and_touches_nothing(name, images):
    model, (data, message) = small_cnn(), BAD[name]
    before = snapshot(model)
    with pytest.raises(ValueError, match=message):
        quiet(model, qsparse.Recipe("2:4"), data)
    unchanged(before, model)
    with pytest.raises(TypeError, match="data must hold samples"):
        quiet(model, qsparse.Recipe("2:4"), 7)


@ONE_SHOT.register("test-stops")
@dataclass(frozen=True)
class Stops:
    """Is interrupted at the second layer."""

    refits: ClassVar[bool] = True
    seen: ClassVar[list] = []

    def mask(self, problem, plan):
        self.seen.append(plan.path)
        if len(self.seen) == 2:
            raise KeyboardInterrupt
        return ONE_SHOT.get("sparsegpt").mask(problem, plan)


@pytest.mark.parametrize("carried", [None, qsparse.Recipe("1:4")])
def test_an_interruption_leaves_the_model_as_it_was(carried, images):
    model = small_cnn()
    if carried is not None:
        attach(model, carried)
    before = snapshot(model)
    Stops.seen.clear()
    with pytest.raises(KeyboardInterrupt):
        quiet(model, qsparse.Recipe("2:4"), images[0][:40], "test-stops")
    unchanged(before, model)
    state = state_of(model)
    assert (state.recipe if state else None) == carried
    assert len(Stops.seen) == 2


def test_an_interruption_at_the_end_takes_everything_back(images, monkeypatch):
    model = small_cnn()
    before = snapshot(model)

    def interrupted(*args):
        state_of(model).turn(Switches(True, True))
        raise KeyboardInterrupt

    monkeypatch.setattr(run_module, "complete", interrupted)
    with pytest.raises(KeyboardInterrupt):
        quiet(model, qsparse.Recipe("2:4"), images[0][:40])
    unchanged(before, model)


def test_what_cannot_be_is_said_before_anything_is_done(pixels):
    model, x = mlp(), pixels[0]
    before = snapshot(model)
    with pytest.raises(ValueError, match="takes a qsparse.Recipe"):
        quiet(model, "2:4", x)
    for name in ("samples", "batch_size", "memory"):
        with pytest.raises(ValueError, match=f"`{name}` must be positive"):
            quiet(model, qsparse.Recipe("2:4"), x, **{name: 0})
    with pytest.raises(ValueError, match="'hidden' sums over 16 weights"):
        quiet(model, qsparse.Recipe("2:4"), x, memory=100)
    with pytest.raises(ValueError, match="scores by gradients, and nothing is trained"):
        quiet(model, qsparse.Recipe("2:4", criterion="saliency"), x, "magnitude")
    with pytest.raises(ValueError, match="no layer to compress"):
        quiet(model, qsparse.Recipe("7:9"), x)
    with pytest.raises(ValueError, match="is not built"):
        quiet(keras.Sequential([layers.Dense(4)]), qsparse.Recipe("2:4"), x)
    unchanged(before, model)
    quiet(model, qsparse.Recipe("2:4"), x)
    with pytest.raises(ValueError, match="recipe that has begun"):
        quiet(model, qsparse.Recipe("2:4"), x)


class Idle(keras.Model):
    """Has a layer that it does not call when it predicts."""

    def __init__(self):
        super().__init__()
        self.used, self.idle = layers.Dense(8), layers.Dense(8, name="idle")

    def call(self, inputs, training=False):
        x = self.used(inputs)
        return self.idle(x) if training else x


def test_a_layer_that_is_not_called_is_named():
    model = Idle()
    x = np.ones((8, 8), "float32")
    model(x, training=True)
    with pytest.raises(ValueError, match="'idle'.*is not called.*exclude"):
        quiet(model, qsparse.Recipe("2:4"), x)
    assert type(model.used) is layers.Dense
    report = quiet(model, qsparse.Recipe("2:4", exclude="idle"), x)
    assert [row.path for row in report.layers] == [model.used.name]


def test_what_is_not_finite_within_the_model_is_named(pixels):
    model = mlp()
    model.get_layer("hidden").bias.assign(np.full(32, np.inf))
    with pytest.raises(ValueError, match="into layer 'head' is NaN or infinite"):
        quiet(model, qsparse.Recipe("2:4"), pixels[0])
    assert type(model.get_layer("head")) is layers.Dense


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(policy, pixels):
    keras.config.set_dtype_policy(policy)
    try:
        model = mlp()
        report = quiet(model, qsparse.Recipe("2:4"), pixels[0])
    finally:
        keras.config.set_dtype_policy("float32")
    assert qsparse.unfinished(model) is None
    assert all(row.error < row.magnitude for row in report.layers)
    assert model.predict(pixels[0], verbose=0).dtype == np.dtype("float32") or policy


def test_progress_goes_to_stderr(pixels, capfd):
    qsparse.one_shot(mlp(), qsparse.Recipe("2:4"), pixels[0])
    out, err = capfd.readouterr()
    assert out == "" and "one_shot 2/2 head: error" in err


def test_a_recipe_may_prune_by_its_rules_only(images):
    model = small_cnn()
    rules = [qsparse.Rule(kind="Dense", pattern="2:4", quantize=True)]
    recipe = qsparse.Recipe(None, quantize=False, rules=rules)
    quiet(model, recipe, images[0][:32])
    assert qsparse.unfinished(model) is None
    dense = [row for row in qsparse.coverage(model).layers if row.kind == "Dense"]
    assert [(row.sparsity, row.format) for row in dense] == [(0.5, "int8")]
