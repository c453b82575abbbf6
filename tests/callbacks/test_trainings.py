"""Trainings in several calls of fit, with other callbacks and other train steps."""

import warnings

import keras
import numpy as np
import pytest
from keras import layers

import qsparse
from qsparse.callbacks import Compress, Prune, PruneThenQuantize, Quantize
from qsparse.engine.compressor import compressed_layers, state_of
from qsparse.engine.phases import Phases
from tests import perceptron
from tests.conftest import compiled
from tests.perceptron import mlp

STEPS = 10  # of one epoch


def fit(model, data, callbacks, epochs=1, **settings):
    return perceptron.fit(model, data, callbacks, epochs, **settings).history


def masks_of(model):
    return [c.canonical_mask() for c in compressed_layers(model)]


def weights_equal(one, other):
    for ours, theirs in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


class Record(keras.callbacks.Callback):
    """Notes the true sparsity of the model at the end of each epoch."""

    def __init__(self):
        super().__init__()
        self.sparsity = []

    def on_epoch_end(self, epoch, logs=None):
        masks = np.concatenate([m.ravel() for m in masks_of(self.model)])
        self.sparsity.append(1.0 - masks.mean())


def test_an_epoch_a_call_is_one_training(pixels):
    whole, staged = mlp(), mlp()
    expected = fit(whole, pixels, [PruneThenQuantize()], epochs=4)
    callback, seen = PruneThenQuantize(total_epochs=4), Record()
    found = [fit(staged, pixels, [callback, seen]) for _ in range(4)]
    for key in ("phase", "sparsity", "loss"):
        assert [logs[key][0] for logs in found] == expected[key], key
    assert seen.sparsity == pytest.approx(expected["sparsity"])
    assert expected["phase"] == [1.0, 1.0, 3.0, 3.0]
    weights_equal(whole, staged)
    assert qsparse.unfinished(staged) is None


def test_steps_beyond_this_fit_are_allowed_in_a_longer_training(pixels):
    model = mlp()
    moments = {"prune_from": 0, "prune_until": 15, "quantize_from": 15}
    callback = PruneThenQuantize(**moments, total_steps=2 * STEPS)
    assert fit(model, pixels, [callback])["phase"] == [1.0]
    assert qsparse.unfinished(model).endswith("(EarlyStopping has start_from_epoch).")
    history = fit(model, pixels, [callback])
    assert history["phase"] == [3.0]
    assert history["sparsity"] == [pytest.approx(0.75)]


def test_totals_are_checked():
    with pytest.raises(ValueError, match="`total_epochs` must be positive.*0"):
        PruneThenQuantize(total_epochs=0)
    with pytest.raises(ValueError, match="`total_steps` must be an integer"):
        PruneThenQuantize(total_steps=2.5)
    with pytest.raises(ValueError, match="either total_steps or total_epochs"):
        Compress(qsparse.Recipe(), total_steps=3, total_epochs=3)


def test_quantize_after_prune_keeps_the_masks(pixels):
    model = mlp()
    fit(model, pixels, [Prune()], epochs=2)
    masks = masks_of(model)
    callback = Quantize()
    history = fit(model, pixels, [callback], epochs=2)
    assert history["phase"] == [3.0, 3.0]
    assert history["sparsity"] == [pytest.approx(0.75)] * 2
    for before, after in zip(masks, masks_of(model), strict=True):
        np.testing.assert_array_equal(before, after)
    assert all(
        row.format == "int8" and not row.reason for row in callback.coverage.layers
    )
    # Each callback's recipe is carried out now; fitting on with either goes on.
    for again in (Prune(), Quantize()):
        assert fit(model, pixels, [again])["phase"] == [3.0]
    assert qsparse.unfinished(model) is None


def test_prune_after_quantize(pixels, tmp_path):
    model = mlp()
    fit(model, pixels, [Quantize()])
    history = fit(model, pixels, [Prune()], epochs=2)
    assert history["phase"] == [3.0, 3.0]
    assert history["sparsity"] == [pytest.approx(0.75)] * 2
    model.save(tmp_path / "m.keras")
    again = qsparse.load_model(tmp_path / "m.keras")
    weights_equal(model, again)
    assert again.layers[0].qsparse.pattern == qsparse.Block((4, 4))


def test_two_callbacks_in_one_fit(pixels):
    both = [Prune(), keras.callbacks.TerminateOnNaN(), Quantize()]
    with pytest.raises(ValueError, match="Prune and Quantize.*PruneThenQuantize"):
        fit(mlp(), pixels, both)


def test_a_new_optimizer_leaves_the_recipe_carried_out(pixels):
    model = mlp()
    fit(model, pixels, [PruneThenQuantize()], epochs=2)
    masks = masks_of(model)
    for _ in range(2):
        history = fit(compiled(model), pixels, [PruneThenQuantize()])
        assert history["phase"] == [3.0]
        assert history["sparsity"] == [pytest.approx(0.75)]
    for before, after in zip(masks, masks_of(model), strict=True):
        np.testing.assert_array_equal(before, after)
    with pytest.raises(ValueError, match="another recipe: sparsity differ"):
        fit(compiled(model), pixels, [PruneThenQuantize(sparsity=0.5)])


def test_one_callback_twice_logs_the_true_sparsity(pixels):
    callback, seen = PruneThenQuantize(), Record()
    for model in (mlp(), mlp(seed=4)):
        logs = fit(model, pixels, [callback, seen], epochs=2)["sparsity"]
        logs += fit(model, pixels, [callback, seen])["sparsity"]
        assert logs == pytest.approx(seen.sparsity[-3:])
        assert logs[-1] == pytest.approx(0.75)
        assert callback.coverage.sparsity == pytest.approx(0.75)


def test_partial_executions_do_not_add_steps(pixels):
    """10 steps in executions of 4 are 10 steps, in every epoch."""
    model = mlp()
    model.compile("adam", "mse", steps_per_execution=4)
    labels = np.eye(12, dtype=np.float32)[pixels[1]]
    fit(model, (pixels[0], labels), [PruneThenQuantize()], epochs=3)
    clock = state_of(model).time()
    assert clock.pruning.total == 3 * STEPS
    assert clock.step == 2 * STEPS + 8


@pytest.mark.parametrize("after", [True, False], ids=["after", "before"])
def test_early_stopping_that_goes_back_is_told(pixels, after):
    """The best epoch is the first, which is dense and float."""
    stopping = keras.callbacks.EarlyStopping(
        "loss", mode="max", patience=9, restore_best_weights=True
    )
    ours = PruneThenQuantize(prune_from=0.4)
    model = mlp()
    callbacks = [ours, stopping] if after else [stopping, ours]
    with pytest.warns(UserWarning, match="model is float, .* as of step 9"):
        fit(model, pixels, callbacks, epochs=4)
    assert ours.coverage.sparsity == 0.0
    strict = PruneThenQuantize(prune_from=0.4, exclude="head", strict=True)
    with pytest.raises(ValueError, match="model is float, .* as of step 9"):
        fit(mlp(), pixels, [strict, stopping], epochs=4)


def test_a_base_that_was_frozen_stays_dense_and_is_named(pixels):
    model = mlp()
    model.layers[0].trainable = False
    fit(compiled(model), pixels, [PruneThenQuantize()], epochs=2)
    model.layers[0].trainable = True
    with pytest.warns(UserWarning, match="'hidden' could not be pruned when"):
        history = fit(compiled(model), pixels, [PruneThenQuantize()])
    assert history["phase"] == [3.0]
    assert model.layers[0].qsparse.pattern is None


@pytest.mark.filterwarnings("ignore:.build... was called on layer:UserWarning")
def test_a_model_without_training_argument_learns_ranges(pixels):
    class Plain(keras.Model):
        def __init__(self):
            super().__init__()
            self.hidden = layers.Dense(32, activation="relu")
            self.head = layers.Dense(12)
            self.unused = layers.Dense(12)

        def call(self, x):
            return self.head(self.hidden(x))

    model = compiled(Plain())
    x, y = pixels
    fit(
        model,
        pixels,
        [Quantize(observer=qsparse.MovingAverage(0.0))],
        validation_data=(9 * x, y),
    )
    (low, high), *_ = model.hidden.qsparse.input_quantizer.ranges.numpy()
    last = x[-25:]
    assert (low, high) == (min(last.min(), 0.0), last.max())
    assert model.head.qsparse.input_quantizer.ranges.numpy()[0, 1] > 0.0
    model.predict(9 * x, verbose=0)
    assert model.hidden.qsparse.input_quantizer.ranges.numpy()[0, 1] == high


def test_layers_that_only_the_train_step_builds(pixels):
    class Detector(keras.Model):
        """Built by a custom `build`, with a head that the first batch builds."""

        def __init__(self):
            super().__init__()
            self.backbone = layers.Dense(32, activation="relu")
            self.head = layers.Dense(12)

        def build(self, shape):
            self.backbone.build(shape)
            self.built = True

        def call(self, x, training=False):
            return self.backbone(x)

        def train_step(self, data):
            import tensorflow as tf

            x, y = data
            with tf.GradientTape() as tape:
                logits = self.head(self(x, training=True), training=True)
                loss = keras.ops.mean(
                    keras.losses.sparse_categorical_crossentropy(y, logits, True)
                )
            variables = self.trainable_variables
            self.optimizer.apply_gradients(
                zip(tape.gradient(loss, variables), variables, strict=True)
            )
            return {"loss": loss}

    model = Detector()
    model.build((None, 16))
    model.compile("adam")
    callback = PruneThenQuantize(schedule="one-shot")
    history = fit(model, pixels, [callback], epochs=2)
    assert history["sparsity"] == [0.75, 0.75]
    assert [row.sparsity for row in callback.coverage.layers] == [0.75, 0.75]


class Gan(keras.Model):
    """Trains a generator with an optimizer of its own; the compiled one idles."""

    def __init__(self, rate):
        super().__init__()
        self.generator = keras.Sequential([keras.Input((16,)), layers.Dense(16)])
        self.own = keras.optimizers.SGD(rate)
        self.built = True

    def call(self, x, training=False):
        return self.generator(x, training=training)

    def train_step(self, data):
        import tensorflow as tf

        x, _ = data
        with tf.GradientTape() as tape:
            loss = keras.ops.mean((self(x, training=True) - 1.0) ** 2)
        variables = self.generator.trainable_variables
        gradients = tape.gradient(loss, variables)
        self.own.apply_gradients(zip(gradients, variables, strict=True))
        return {"loss": loss}


def test_a_sum_that_only_training_builds(pixels):
    """It has no kernel, and the train function is to be made anew all the same."""

    class Late(keras.Model):
        def __init__(self):
            super().__init__()
            self.first = layers.Dense(16, activation="relu")
            self.join = layers.Add()
            self.head = layers.Dense(12)

        def call(self, x, training=False):
            x = self.first(x)
            return self.head(self.join([x, x]) if training else x + x)

    model = compiled(Late())
    with pytest.warns(UserWarning, match="unbuilt state"):  # Keras knows
        model(pixels[0][:2])
    assert not model.join.built
    model.fit(
        pixels[0][:96],
        pixels[1][:96],
        verbose=0,
        callbacks=[PruneThenQuantize(prune_from=0, prune_until=1, quantize_from=1)],
    )
    (ranges,) = (w for w in model.join.weights if w.path.endswith("ranges"))
    assert (ranges.numpy()[:, 1] > 0).all()


def test_the_clock_counts_steps_whatever_optimizer_moves(pixels):
    model = Gan(0.1)
    model.compile("adam")
    history = fit(model, pixels, [PruneThenQuantize()], epochs=2)
    assert history["phase"] == [1.0, 3.0]
    assert history["sparsity"][-1] == pytest.approx(0.75)
    assert int(model.optimizer.iterations.numpy()) == 0
    assert state_of(model).time().step == 2 * STEPS - 1


def test_weights_that_never_move_are_told(pixels):
    model = Gan(0.0)
    model.compile("adam")
    with pytest.warns(UserWarning, match="changed no compressed weight: no optimizer"):
        fit(model, pixels, [PruneThenQuantize()], epochs=2)


def test_masks_from_few_steps_are_told(pixels):
    model = mlp()
    qsparse.attach(model, qsparse.Recipe())
    with pytest.warns(UserWarning, match="makes 99 steps from where pruning begins"):
        Phases(model).start(99)
    other = mlp()
    qsparse.attach(other, qsparse.Recipe())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Phases(other).start(100)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PruneThenQuantize(0.75), r"PruneThenQuantize\(sparsity=0.75\)"),
        (lambda: Prune(75), "first argument of Prune is the pattern"),
        (lambda: PruneThenQuantize(qsparse.Recipe()), r"Compress\(recipe\) carries"),
        (lambda: Compress("block"), "takes a qsparse.Recipe.*Received: 'block'"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_class_without_parentheses(pixels):
    with pytest.raises(ValueError, match=r"Give an instance.*PruneThenQuantize\(\)"):
        fit(mlp(), pixels, [PruneThenQuantize])
