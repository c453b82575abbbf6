"""What criteria see of data: measured by other means, and leaving no trace."""

import itertools
from dataclasses import dataclass
from typing import ClassVar

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import qsparse
from qsparse.callbacks import Joint, Prune, PruneThenQuantize, Quantize
from qsparse.engine import scoring
from qsparse.engine.batches import Batches
from qsparse.engine.compressor import compressed_layers, state_of
from qsparse.engine.phases import Phases
from qsparse.methods import REGISTRIES
from tests.conftest import compiled
from tests.perceptron import fit, mlp

# All of it in one step, at the first.
AT_ONCE = {"schedule": "one-shot", "estimator": "ste", "prune_from": 0}
HASTY = pytest.mark.filterwarnings("ignore:Training makes .* steps")
NEEDS = ("gradients", "squares", "batch_gradients", "activations", "tile", "path")


@pytest.fixture
def spy():
    """Return a criterion that notes what it is shown, by the path of a layer."""
    before = dict(REGISTRIES["criterion"].classes)
    shown = {}

    @qsparse.register("criterion", "spy")
    @dataclass(frozen=True)
    class Spy:
        needs: ClassVar[tuple[str, ...]] = NEEDS

        def score(self, weights, **seen):
            shown.setdefault(seen["path"], seen)
            return np.abs(weights)

    yield shown
    REGISTRIES["criterion"].classes = before


def network():
    """Return a model with what a step of training changes, and kernels of all kinds."""
    keras.utils.set_random_seed(5)
    x = inputs = keras.Input((12, 12, 3))
    x = layers.Conv2D(8, 3, strides=2, padding="same", name="strided")(x)
    x = layers.BatchNormalization(momentum=0.9, name="norm")(x)
    x = layers.Conv2D(8, (3, 2), dilation_rate=(2, 1), activation="relu", name="far")(x)
    x = layers.Reshape((10, 8))(x)
    x = layers.Conv1D(8, 3, padding="causal", activation="relu", name="causal")(x)
    x = layers.EinsumDense("bti,oi->bto", (10, 4), name="einsum")(x)
    x = layers.Dropout(0.5, seed=3, name="dropout")(layers.Flatten()(x))
    x = layers.Dense(10, kernel_regularizer="l2", name="head")(x)
    return compiled(keras.Model(inputs, x))


def images_of(rows=80):
    rng = np.random.default_rng(2)
    x = rng.normal(size=(rows, 12, 12, 3)).astype(np.float32)
    return x, rng.integers(0, 10, rows)


KERNELS = ("strided", "far", "causal", "einsum", "head")


def gradients_by_tape(model, x, y):
    """Return each kernel's gradient of every batch of 32, dropout as first drawn."""
    named = {n: model.get_layer(n).kernel for n in KERNELS}
    drawn = model.get_layer("dropout").seed_generator.state
    start, norm = drawn.numpy(), model.get_layer("norm")
    statistics = [v.numpy() for v in norm.non_trainable_variables]
    found = {name: [] for name in named}
    for first in range(0, len(x), 32):
        drawn.assign(start)
        with tf.GradientTape() as tape:
            logits = model(x[first : first + 32], training=True)
            loss = model.loss(y[first : first + 32], logits) + sum(model.losses)
        kernels = [kernel.value for kernel in named.values()]
        gradients = tape.gradient(loss, kernels)
        for name, gradient in zip(named, gradients, strict=True):
            found[name].append(gradient.numpy())
    drawn.assign(start)
    for variable, value in zip(norm.non_trainable_variables, statistics, strict=True):
        variable.assign(value)
    return found


def inputs_of(model, x):
    """Return what every layer with a kernel is given, in training."""
    found = {}
    for name in KERNELS:
        layer = model.get_layer(name)
        below = keras.Model(model.input, layer.input)
        norm = model.get_layer("norm").get_weights()
        drawn = model.get_layer("dropout").seed_generator.state
        start = drawn.numpy()
        rows = []
        for first in range(0, len(x), 32):
            drawn.assign(start)
            rows.append(below(x[first : first + 32], training=True).numpy())
        found[name] = np.concatenate(rows).astype(np.float64)
        drawn.assign(start)
        model.get_layer("norm").set_weights(norm)
    return found


def norms_of(found):
    """Return the root of the sum of squares that each tap and input meets, by loops."""
    norms = {}
    strided = np.pad(found["strided"], [(0, 0), (0, 1), (0, 1), (0, 0)])
    norms["strided"] = [
        strided[:, row : row + 11 : 2, column : column + 11 : 2]
        for row, column in itertools.product(range(3), range(3))
    ]
    height, width = found["far"].shape[1:3]
    norms["far"] = [
        found["far"][:, row : row + height - 4, column : column + width - 1]
        for row, column in itertools.product((0, 2, 4), (0, 1))
    ]
    causal = np.pad(found["causal"], [(0, 0), (2, 0), (0, 0)])
    steps = found["causal"].shape[1]
    norms["causal"] = [causal[:, tap : tap + steps] for tap in range(3)]
    norms["einsum"] = [found["einsum"]]
    norms["head"] = [found["head"]]
    return {
        name: np.stack(
            [np.sqrt((tap**2).reshape(-1, tap.shape[-1]).sum(axis=0)) for tap in taps]
        )[..., np.newaxis]
        for name, taps in norms.items()
    }


@HASTY
def test_statistics_of_data(spy):
    """Batches of 32, 32 and 16 rows, at the weights before the first step."""
    model, (x, y) = network(), images_of()
    by_tape = gradients_by_tape(model, x, y)
    norms = norms_of(inputs_of(model, x))
    callback = Prune("unstructured", 0.5, criterion="spy", score_data=(x, y), **AT_ONCE)
    model.fit(x, y, batch_size=16, verbose=0, callbacks=[callback])
    layouts = {c.path_in_model: c.layout for c in compressed_layers(model)}
    assert set(spy) == set(KERNELS) == set(layouts)
    for name, seen in spy.items():
        each = np.stack([layouts[name].canonical(g) for g in by_tape[name]])
        close = {"rtol": 2e-4, "atol": 2e-6}
        np.testing.assert_allclose(seen["batch_gradients"], each, **close)
        np.testing.assert_allclose(seen["gradients"], each.sum(axis=0), **close)
        np.testing.assert_allclose(seen["squares"], (each**2).sum(axis=0), **close)
        np.testing.assert_allclose(seen["activations"], norms[name], rtol=1e-4)
        assert seen["tile"] == (1, 1)


@HASTY
def test_layers_go_in_groups_where_memory_is_short(spy, monkeypatch):
    (x, y), seen = images_of(), []
    for limit in (scoring._AT_ONCE, 1):
        monkeypatch.setattr(scoring, "_AT_ONCE", limit)
        spy.clear()
        model = network()
        recipe = {"criterion": "spy", "score_data": (x, y), **AT_ONCE}
        callback = Prune("unstructured", 0.5, **recipe)
        model.fit(x, y, batch_size=16, verbose=0, callbacks=[callback])
        seen.append(dict(spy))
        assert len(callback._phases._selector._scoring._passes) == (
            1 if limit > 1 else 5
        )
    for name, statistics in seen[0].items():
        for key in ("batch_gradients", "activations"):
            np.testing.assert_array_equal(statistics[key], seen[1][name][key])


def everything(model):
    """Return all that a model, its optimizer and its metrics hold, as bytes."""
    variables = [*model.variables, *model.optimizer.variables, *model.metrics_variables]
    return [np.asarray(v.numpy()).tobytes() for v in variables]


@HASTY
def test_scoring_leaves_the_model_as_it_was():
    """Statistics, ranges, seeds, masks, slots and metrics: bit for bit."""
    model, (x, y) = network(), images_of()
    ours = Joint("unstructured", 0.5, criterion="snip", score_data=(x, y))
    model.fit(x, y, batch_size=16, verbose=0, callbacks=[ours])
    assert compressed_layers(model)[0].input_quantizer.ranges.numpy().any()
    before = everything(model)
    data = Batches((x, y), "score_data", again=True)
    for criterion in (qsparse.SNIP(), qsparse.Wanda(), qsparse.BlockFisher()):
        pruned = compressed_layers(model)
        for layer in pruned:
            object.__setattr__(layer.plan, "criterion", criterion)
        seen = list(scoring.Scoring(model, data).seen(pruned))
        assert len(seen) == len(pruned) == 5
        assert all(value.any() for _, each in seen for value in each.values())
        assert everything(model) == before


@HASTY
def test_a_training_is_the_same_as_without_data(spy):
    """By scores that are magnitudes, whatever they see."""
    (x, y), found = images_of(), []
    for settings in ({}, {"criterion": "spy", "score_data": (x, y)}):
        model = network()
        recipe = {"quantize_from": 0.4, "update_every": 4, "estimator": "ste"}
        recipe |= settings
        callback = PruneThenQuantize("unstructured", 0.5, **recipe)
        model.fit(x, y, batch_size=8, epochs=3, verbose=0, callbacks=[callback])
        found.append(everything(model))
        assert state_of(model).score_data is None
    assert spy and found[0] == found[1]


@pytest.mark.parametrize("kind", ["arrays", "tf.data", "filtered", "PyDataset", "loop"])
def test_data_of_every_kind_gives_the_same_masks(kind, pixels):
    x, y = pixels
    rows = tf.data.Dataset.from_tensor_slices((x, y)).batch(32)

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 8

        def __getitem__(self, index):
            part = slice(32 * index, 32 * index + 32)
            return x[part], y[part]

    given = {
        "arrays": (tf.constant(x), y.astype(np.int64)),
        "tf.data": rows,
        "filtered": rows.filter(lambda x, y: True),  # of unknown length
        "PyDataset": Batches(),
        "loop": (x.astype(np.float64), y),
    }[kind]
    expected = None
    for data in ((x, y), given):
        model = mlp()
        if kind == "loop":
            recipe = qsparse.Recipe("unstructured", 0.5, "block-fisher", **AT_ONCE)
            qsparse.attach(model, recipe, score_data=data)
            phases = Phases(model)
            phases.start(100)
            phases.step(0)
        else:
            settings = {"criterion": "block-fisher", "total_steps": 200, **AT_ONCE}
            callback = Prune("unstructured", 0.5, score_data=data, **settings)
            fit(model, pixels, [callback], epochs=1)
        masks = [c.canonical_mask() for c in compressed_layers(model)]
        if expected is not None:
            for ours, theirs in zip(masks, expected, strict=True):
                np.testing.assert_array_equal(ours, theirs)
        expected = masks
        assert sum((~mask).sum() for mask in masks) == sum(m.size for m in masks) // 2


@HASTY
def test_a_loss_of_several_outputs(pixels):
    """Keras makes metrics of them where the loss is built: not where we trace it."""
    x, _ = pixels
    y = {"one": x[:, :2], "two": x[:, 2:6] ** 2}
    inputs = keras.Input((16,))
    keras.utils.set_random_seed(1)
    hidden = layers.Dense(8, name="hidden")(inputs)
    outputs = {n: layers.Dense(v.shape[1], name=n)(hidden) for n, v in y.items()}
    model = keras.Model(inputs, outputs)
    model.compile("adam", {"one": "mse", "two": "mae"})
    with tf.GradientTape() as tape:
        losses = []
        for start in range(0, 250, 32):
            found = model(x[start : start + 32])
            one, two = (found[n] - y[n][start : start + 32] for n in y)
            losses.append(tf.reduce_mean(one**2) + tf.reduce_mean(tf.abs(two)))
        loss = sum(losses)
    (gradient,) = tape.gradient(loss, [model.layers[1].kernel.value])
    scores = np.abs(model.layers[1].kernel.numpy() * gradient.numpy())[np.newaxis]
    callback = Prune(
        "unstructured", 0.5, criterion="snip", score_data=(x, y), **AT_ONCE
    )
    history = fit(model, (x, y), [callback], epochs=1).history
    assert {"one_loss", "two_loss"} <= history.keys()
    mask = compressed_layers(model)[0].canonical_mask()
    assert (mask == qsparse.Unstructured().mask(scores, 0.5)).mean() > 0.98


def test_a_loss_of_no_labels(pixels):
    """As an autoencoder has: `add_loss`, and no `y`."""
    inputs = keras.Input((16,))
    outputs = layers.Dense(16, name="hidden")(inputs)

    class Penalty(layers.Layer):
        def call(self, x):
            self.add_loss(keras.ops.sum(keras.ops.square(x)))
            return x

    model = keras.Model(inputs, Penalty()(outputs))
    model.compile("sgd")
    x = pixels[0]
    kernel = model.get_layer("hidden").kernel.numpy().astype(np.float64)
    expected = np.abs(kernel * (2 * x.astype(np.float64).T @ (x @ kernel)))
    qsparse.attach(
        model,
        qsparse.Recipe("unstructured", 0.5, "saliency", **AT_ONCE),
        score_data=x,
    )
    phases = Phases(model)
    phases.start(200)
    phases.step(0)
    (layer,) = compressed_layers(model)
    mask = qsparse.Unstructured().mask(expected[np.newaxis], 0.5)
    np.testing.assert_array_equal(layer.canonical_mask(), mask)


# --- float16 --------------------------------------------------------------------------


@HASTY
@pytest.mark.filterwarnings("ignore:Training changed no")
@pytest.mark.parametrize("size", [1e-7, 1.0, 1e4])
def test_gradients_in_float16_are_neither_lost_nor_scaled(size, spy, pixels):
    """Of losses so small and so large that float16 could not hold their gradients."""
    x, y = pixels
    found = {}
    for policy in ("float32", "mixed_float16"):
        spy.clear()
        keras.config.set_dtype_policy(policy)
        try:
            model = mlp(optimizer="sgd")
        finally:
            keras.config.set_dtype_policy("float32")
        own = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile("adam", lambda t, p, own=own: own(t, p) * size)
        if policy == "mixed_float16":
            assert type(model.optimizer) is keras.optimizers.LossScaleOptimizer
        settings = {"criterion": "spy", "score_data": (x, y), **AT_ONCE}
        fit(model, pixels, [Prune("unstructured", 0.5, **settings)], epochs=1)
        found[policy] = dict(spy)
    for name, seen in found["float32"].items():
        half = found["mixed_float16"][name]
        for key in ("gradients", "activations"):
            largest = np.abs(seen[key]).max()
            assert np.abs(half[key] - seen[key]).max() < 0.01 * largest, key


# --- Once -----------------------------------------------------------------------------


class Watch(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.masks = []

    def on_train_batch_end(self, batch, logs=None):
        masks = [c.canonical_mask() for c in compressed_layers(self.model)]
        self.masks.append(np.concatenate([mask.ravel() for mask in masks]))


@pytest.mark.parametrize("criterion", ["random", "snip"])
def test_masks_of_what_is_ranked_once_are_nested(criterion, pixels):
    watch, model = Watch(), mlp()
    weights = [layer.kernel.numpy() for layer in model.layers]
    data = {"score_data": pixels} if criterion == "snip" else {}
    callback = Prune("unstructured", 0.8, criterion=criterion, update_every=1, **data)
    fit(model, pixels, [callback, watch], epochs=12)
    shares = [mask.mean() for mask in watch.masks]
    assert len(set(shares)) > 20 and shares[-1] == pytest.approx(0.2, abs=0.01)
    for less, more in itertools.pairwise(watch.masks):
        assert (less >= more).all()
    if criterion == "random":
        scores = [
            qsparse.Random().score(c.master(), path=c.path_in_model)
            for c in compressed_layers(model)
        ]
    else:
        fresh = mlp()
        with tf.GradientTape() as tape:
            losses = [
                fresh.loss(pixels[1][i : i + 32], fresh(pixels[0][i : i + 32]))
                for i in range(0, 250, 32)
            ]
            loss = sum(losses)
        kernels = [layer.kernel.value for layer in fresh.layers]
        gradients = tape.gradient(loss, kernels)
        pairs = zip(weights, gradients, strict=True)
        scores = [np.abs(w * g.numpy())[np.newaxis] for w, g in pairs]
    for layer, score in zip(compressed_layers(model), scores, strict=True):
        expected = qsparse.Unstructured().mask(score, 0.8)
        assert (layer.canonical_mask() == expected).mean() > 0.995


class Interrupt(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.optimizer.iterations.numpy()) == 17:
            raise KeyboardInterrupt


@pytest.mark.parametrize("criterion", ["movement", "snip", "random", "fisher"])
def test_resume_is_bit_exact(criterion, pixels, tmp_path):
    """Interrupted in the second epoch, between two selections."""
    data = {"score_data": pixels} if criterion == "snip" else {}
    recipe = {"criterion": criterion, "update_every": 7, "prune_from": 0.1, **data}

    def train(folder, *more, renamed=False):
        model = mlp()
        if renamed:  # as where Keras counts names anew: a ranking is not drawn again
            model.layers[0].name = "other"
        backup = keras.callbacks.BackupAndRestore(folder, delete_checkpoint=False)
        ours = PruneThenQuantize("unstructured", 0.7, prune_until=0.8, **recipe)
        fit(model, pixels, [backup, ours, *more], epochs=4)
        sums = [c.gradient_sums for c in compressed_layers(model)]
        values = [v for each in sums if each for v in each.values().values()]
        return [*model.get_weights(), *values]

    straight = train(tmp_path / "a")
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "b", Interrupt())
    resumed = train(tmp_path / "b", renamed=criterion == "random")
    for ours, theirs in zip(straight, resumed, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_file_holds_a_ranking_while_it_is_needed(pixels, tmp_path):
    """Without the data that it was made of, a training goes on by it."""
    settings = {"criterion": "snip", "total_epochs": 12, "update_every": 5}
    model = mlp()
    first = Prune("unstructured", 0.8, score_data=pixels, **settings)
    fit(model, pixels, [first], epochs=2)
    before = [c.canonical_mask() for c in compressed_layers(model)]
    model.save(tmp_path / "m.keras")
    with pytest.warns(UserWarning, match="was not carried out"):
        again = qsparse.load_model(tmp_path / "m.keras")
    second = Prune("unstructured", 0.8, **settings)
    fit(again, pixels, [second], epochs=10)
    assert second.coverage.sparsity == pytest.approx(0.8, abs=0.01)
    for layer, mask in zip(compressed_layers(again), before, strict=True):
        assert (mask >= layer.canonical_mask()).all() and not mask.all()
    for trained, there in ((model, True), (again, False)):
        stored = {}
        compressed_layers(trained)[0].save_own_variables(stored)
        assert ("scores" in stored) == there


# --- The optimizer's moments ----------------------------------------------------------


@pytest.mark.parametrize("scaled", [False, True])
def test_fisher_of_the_optimizers_moments(scaled, pixels):
    """Of a rate of zero: v is a mean of squares, summed here batch by batch."""
    x, y = pixels
    adam = keras.optimizers.Adam(0.0, beta_2=0.9)
    if scaled:
        adam = keras.optimizers.LossScaleOptimizer(adam)
    model = mlp(optimizer=adam)
    v = 0.0
    for start in range(0, 250, 25):
        with tf.GradientTape() as tape:
            loss = model.loss(y[start : start + 25], model(x[start : start + 25]))
        (gradient,) = tape.gradient(loss, [model.layers[0].kernel.value])
        v = 0.9 * v + 0.1 * gradient.numpy().astype(np.float64) ** 2
    weights = model.layers[0].kernel.numpy()
    settings = {"criterion": qsparse.Fisher("optimizer"), "total_steps": 200}
    settings |= {**AT_ONCE, "prune_from": 10, "prune_until": 15}
    callback = Prune("unstructured", 0.5, **settings)
    with pytest.warns(UserWarning, match="changed no compressed weight"):
        fit(model, pixels, [callback], epochs=2)
    mask = qsparse.Unstructured().mask((weights**2 * v)[np.newaxis], 0.5)
    np.testing.assert_array_equal(compressed_layers(model)[0].canonical_mask(), mask)


# --- What is wrong is told ------------------------------------------------------------


def test_a_criterion_without_its_data_is_told_when_training_starts(pixels):
    model = mlp()
    late = {"prune_from": 900, "prune_until": 999, "total_steps": 1000}
    for criterion, name in (("wanda", "activations"), ("block-fisher", "batch_gradi")):
        message = rf"scores by {name}.*'hidden'.*none was given.*score_data=\(x, y\)"
        with pytest.raises(ValueError, match=message):
            fit(model, pixels, [Prune("unstructured", criterion=criterion, **late)])
        qsparse.strip(model)
    assert model.optimizer.iterations.numpy() == 0


@HASTY
def test_data_that_nothing_looks_at_is_told(pixels):
    for criterion in ("magnitude", "movement", "random"):
        with pytest.raises(ValueError, match="looks at no data. Leave score_data out"):
            fit(mlp(), pixels, [Prune(criterion=criterion, score_data=pixels)])
    with pytest.raises(ValueError, match="this recipe prunes nothing"):
        Quantize(score_data=pixels)


@HASTY
def test_an_optimizer_without_moments_is_told(pixels):
    callback = Prune("unstructured", criterion=qsparse.Fisher("optimizer"))
    with pytest.raises(ValueError, match="keep. Model .* is trained by SGD"):
        fit(mlp(optimizer=keras.optimizers.SGD(0.1)), pixels, [callback])
    callback = Prune(
        "unstructured", criterion=qsparse.Fisher("optimizer"), schedule="constant"
    )
    with pytest.raises(ValueError, match="none of layer 'hidden' yet.*prune_from"):
        fit(mlp(), pixels, [callback])


@HASTY
def test_data_that_a_loss_cannot_use_is_told(pixels):
    x, y = pixels
    broken = np.where(np.arange(250)[:, np.newaxis] == 7, np.nan, x)
    for data, message in (
        (x, "scores by gradients of the loss, which needs labels"),
        ((broken, y), "over score_data is NaN or infinite"),
        ((np.zeros_like(x), y), "brings none for layer 'hidden': they are all zero"),
    ):
        callback = Prune("unstructured", criterion="snip", score_data=data)
        with pytest.raises(ValueError, match=message):
            fit(mlp(), pixels, [callback])


def test_data_of_an_unknown_kind_is_told():
    x, y = np.zeros((4, 2)), np.zeros(4)
    endless = tf.data.Dataset.from_tensors((x, y)).repeat()
    for data, message in (
        ("images", "score_data must hold samples. Give an array.*Received: str"),
        (3, "Received: int"),
        (((x, y) for _ in range(2)), "more than once, which a generator cannot be"),
        ((x, y[:3]), r"hold different numbers of samples: \[3, 4\]"),
        ((x, [1, 2, 3, 4]), r"of arrays. Give.*2 parts, \[\(4, 2\), 'int'"),
        ((x, y, y, y), "Received: 4 parts"),
        ((x[:0], y[:0]), "score_data is empty"),
        ([], "score_data is empty"),
        (endless, "never ends. Give it a length, as with dataset.take"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            Prune("unstructured", criterion="snip", score_data=data)


@HASTY
def test_a_statistic_that_there_is_not_is_told(pixels):
    @qsparse.register("criterion", "asking")
    @dataclass(frozen=True)
    class Asking:
        needs: ClassVar[tuple[str, ...]] = ("hessian",)

        def score(self, weights, hessian):
            return weights

    try:
        with pytest.raises(
            ValueError, match="needs 'hessian'.*no statistic.*'moments'"
        ):
            fit(mlp(), pixels, [Prune("unstructured", criterion="asking")])
    finally:
        del REGISTRIES["criterion"].classes["asking"]
