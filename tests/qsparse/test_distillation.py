"""Distillation: what a step computes, and what becomes of student and teacher."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import qsparse
from qsparse.callbacks import Prune, PruneThenQuantize, Quantize
from qsparse.engine.compressor import compressed_layers, state_of
from tests import perceptron
from tests.conftest import compiled
from tests.perceptron import mlp
from tests.qsparse.test_jax import run_worker


class Perceptron(keras.Model):
    """`mlp` as a subclassed model, with its layers in a model of its own."""

    def __init__(self):
        super().__init__()
        self.hidden = layers.Dense(32, activation="relu", name="hidden")
        self.head = layers.Dense(12, name="head")

    def call(self, x):
        return self.head(self.hidden(x))


class Wrapped(keras.Model):
    def __init__(self):
        super().__init__()
        self.body = Perceptron()
        self.body.name = "body"

    def call(self, x, training=False):
        return self.body(x)


def subclassed(seed, make=Perceptron):
    keras.utils.set_random_seed(seed)
    model = make()
    model(np.zeros((1, 16), np.float32))
    return compiled(model, 1e-2)


def sgd(model):
    model.compile(keras.optimizers.SGD(1.0), model.loss)
    return model


def in_the_middle(student, pixels):
    """Prune and quantize a student half-way; return it with an optimizer of rate 1."""
    callback = PruneThenQuantize(prune_until=0.25, quantize_from=0.5, sparsity=0.5)
    perceptron.fit(student, pixels, [callback])
    assert state_of(student).fake_quantizes
    return sgd(student)


def soft(teacher, student, temperature):
    p, q = tf.nn.softmax(teacher / temperature), tf.nn.softmax(student / temperature)
    rows = tf.reduce_sum(p * tf.math.log(p / q), axis=-1)
    return temperature**2 * tf.reduce_mean(rows)


def squared(teacher, student):
    return tf.reduce_mean((student - teacher) ** 2) / (
        tf.reduce_mean(teacher**2) + 2.0**-7
    )


@pytest.mark.parametrize("make", [mlp, subclassed], ids=["sequential", "subclassed"])
def test_a_step_is_what_a_tape_says(pixels, make):
    """CE, KL and SquareHead of the student as it is then: pruned, fake-quantized.

    The tape calls layer by layer; so nothing here depends on how features are taken.
    """
    x, y = pixels[0][:25], pixels[1][:25]
    weight = np.linspace(0.0, 2.0, 25, dtype=np.float32)
    teacher, student = make(1), in_the_middle(make(2), pixels)
    hidden, head = (c.owner() for c in compressed_layers(student))
    start = student.get_weights()
    expected = {}
    for quantized in (True, False):
        student.set_weights(start)
        state_of(student).quantizing.assign(quantized)
        # A step of fit also learns ranges, which Keras' `training` tells layers.
        with tf.GradientTape() as tape:
            features = hidden(x, training=True)
            logits = head(features, training=True)
            theirs = teacher.layers[0](x)
            labels = tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits)
            loss = 0.3 * tf.reduce_mean(labels * weight)
            loss += 0.7 * soft(teacher(x), logits, 3.0)
            loss += 0.2 * (squared(theirs, features) + squared(teacher(x), logits))
            added = sum(student.losses)  # of SR-STE: no value, but a gradient
            whole = loss + added
        variables = student.trainable_variables
        gradients = tape.gradient(whole, variables)
        alone = [v.numpy() for v in variables]
        expected[quantized] = (
            float(loss),
            [a - g.numpy() for a, g in zip(alone, gradients, strict=True)],
        )
    assert expected[True][0] != pytest.approx(expected[False][0], rel=1e-4)

    student.set_weights(start)
    distiller = qsparse.distill(
        student,
        teacher,
        [qsparse.SoftLabels(3.0), qsparse.SquareHead()],
        weights=(0.7, 0.2),
        hard_weight=0.3,
    )
    frozen = teacher.get_weights()
    found = distiller.train_on_batch(x, y, sample_weight=weight, return_dict=True)
    assert found["loss"] == pytest.approx(expected[True][0], rel=1e-4)
    assert found["hard_loss"] + found["distillation_loss"] == pytest.approx(
        expected[True][0], rel=1e-4
    )
    for ours, theirs in zip(
        student.trainable_variables, expected[True][1], strict=True
    ):
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-3, atol=1e-5)
    for before, after in zip(frozen, teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


def test_sr_ste_acts_on_what_is_pruned(pixels):
    """Without a loss the masked weights still decay, as in the student alone."""
    student = mlp(2)
    perceptron.fit(student, pixels, [Prune(sparsity=0.5, estimator="sr-ste")])
    sgd(student)
    hidden = compressed_layers(student)[0]
    mask, before = hidden.canonical_mask(), hidden.master()
    distiller = qsparse.distill(
        student, mlp(1), keras.distillation.FeatureDistillation("mse"), weights=[0.0],
        hard_weight=0.0,
    )  # fmt: skip
    distiller.train_on_batch(*(part[:25] for part in pixels))
    after, decay = hidden.master(), hidden.plan.estimator.decay
    np.testing.assert_array_equal(after[mask], before[mask])
    np.testing.assert_allclose(after[~mask], before[~mask] * (1 - decay), rtol=1e-5)
    assert np.abs(before[~mask]).max() > 0


def test_a_student_is_called_once_in_a_step(pixels):
    """Statistics move once, and dropout is the same for outputs and features."""
    keras.utils.set_random_seed(5)
    inputs = keras.Input((16,))
    middle = layers.BatchNormalization(momentum=0.5, name="norm")(inputs)
    middle = layers.Dropout(0.5, seed=3, name="drop")(middle)
    student = compiled(keras.Model(inputs, layers.Dense(12, name="head")(middle)))
    teacher = keras.models.clone_model(student)
    loss = keras.distillation.FeatureDistillation(
        "mse", teacher_layer_name="drop", student_layer_name="drop"
    )
    distiller = qsparse.distill(student, teacher, loss)
    x = 3.0 + pixels[0][:25]
    distiller.train_on_batch(x, pixels[1][:25])
    moved = student.get_layer("norm").moving_mean.numpy()
    np.testing.assert_allclose(moved, 0.5 * x.mean(0), rtol=1e-5)
    assert (teacher.get_layer("norm").moving_mean.numpy() == 0).all()


def test_fit_compresses_the_student_alone(pixels, tmp_path):
    """Its paths are its own; files, export and a later fit are those of the student."""
    teacher, student = mlp(1), mlp(2)
    frozen = teacher.get_weights()
    callback = PruneThenQuantize(rules=[qsparse.Rule("head", sparsity=0.5)])
    distiller = qsparse.distill(student, teacher)
    checkpoint = keras.callbacks.ModelCheckpoint(tmp_path / "m.keras")
    history = perceptron.fit(
        distiller, pixels, [callback, checkpoint], 4, validation_data=pixels
    ).history
    assert history["phase"] == [1.0, 1.0, 3.0, 3.0]
    rows = {row.path: row for row in callback.coverage.layers}
    assert rows.keys() == {"hidden", "head"}
    assert (rows["hidden"].sparsity, rows["head"].sparsity) == (0.75, 0.5)
    assert qsparse.unfinished(student) is None
    assert state_of(teacher) is None and type(teacher.layers[0]) is layers.Dense
    for before, after in zip(frozen, teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    expected = student.predict(pixels[0], verbose=0)
    np.testing.assert_array_equal(distiller.predict(pixels[0], verbose=0), expected)
    again = qsparse.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(again.predict(pixels[0], verbose=0), expected)
    accuracy = student.evaluate(*pixels, verbose=0, return_dict=True)["accuracy"]
    assert accuracy == pytest.approx(history["val_accuracy"][-1])
    report = qsparse.export(
        student, tmp_path / "m.tflite", representative_data=pixels[0]
    )
    assert report is not None
    steps = int(student.optimizer.iterations.numpy())
    perceptron.fit(student, pixels, [callback], 1)
    assert int(student.optimizer.iterations.numpy()) == steps + 10


def test_fitting_again_traces_what_was_attached(pixels):
    """A distiller that trained a dense student holds functions without masks."""
    teacher, student = mlp(1), mlp(2)
    distiller = qsparse.distill(student, teacher)
    perceptron.fit(distiller, pixels, [], 1)
    loss = distiller.evaluate(*pixels, verbose=0)[0]
    perceptron.fit(distiller, pixels, [PruneThenQuantize(prune_until=0.2)], 2)
    hidden = compressed_layers(student)[0]
    low, high = hidden.input_quantizer.ranges.numpy()[0]
    assert low < high
    assert distiller.evaluate(*pixels, verbose=0)[0] != loss
    quantized = distiller.predict(pixels[0], verbose=0)
    qsparse.strip(student)
    plain = distiller.predict(pixels[0], verbose=0)
    assert (plain != quantized).any()
    np.testing.assert_array_equal(plain, student.predict(pixels[0], verbose=0))


def test_a_resumed_distillation_is_the_same(pixels, tmp_path):
    """The second half in a new distiller: weights equal those of one training."""

    class StopError(Exception):
        pass

    class Die(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise StopError

    def train(folder, *more):
        student = mlp(2)
        distiller = qsparse.distill(
            student, mlp(1), [qsparse.SoftLabels(), qsparse.SquareHead()]
        )
        backup = keras.callbacks.BackupAndRestore(folder, delete_checkpoint=False)
        perceptron.fit(distiller, pixels, [backup, PruneThenQuantize(), *more], 4)
        return [v.numpy() for v in (*student.weights, *student.optimizer.variables)]

    expected = train(tmp_path / "a")
    with pytest.raises(StopError):
        train(tmp_path / "b", Die())
    for ours, theirs in zip(train(tmp_path / "b"), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_features_of_layers_deep_inside(pixels):
    """Of a model in a subclassed model, by path; pairs may have other names."""
    student, teacher = subclassed(2, Wrapped), mlp(1)
    loss = qsparse.SquareHead({"body/hidden": "hidden", "head": "head"})
    distiller = qsparse.distill(student, teacher, loss, weights=[1.0], hard_weight=0)
    x = pixels[0][:25]
    found = distiller.evaluate(x, pixels[1][:25], verbose=0, return_dict=True)
    body = student.body
    expected = squared(teacher.layers[0](x), body.hidden(x)) + squared(
        teacher(x), student(x)
    )
    assert found["loss"] == pytest.approx(float(expected), rel=1e-4)


def test_no_labels_are_needed_without_a_hard_loss(pixels):
    student = mlp(2)
    distiller = qsparse.distill(student, mlp(1), hard_weight=0)
    history = distiller.fit(pixels[0], epochs=2, verbose=0).history
    assert history["loss"][1] < history["loss"][0]


def test_a_better_teacher_is_followed(pixels):
    """Of random labels a student learns only what its teacher knows."""
    x, y = pixels
    teacher, student = mlp(1), mlp(2)
    perceptron.fit(teacher, pixels, [], 30)
    random = np.random.default_rng(0).integers(0, 12, len(y))
    distiller = qsparse.distill(student, teacher, hard_weight=0.1)
    perceptron.fit(distiller, (x, random), [Prune(sparsity=0.5)], 30)
    theirs = teacher.predict(x, verbose=0).argmax(1)
    assert (student.predict(x, verbose=0).argmax(1) == theirs).mean() > 0.6


def test_mixed_precision(pixels):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        student = mlp(2)
    finally:
        keras.config.set_dtype_policy("float32")
    losses = [qsparse.SoftLabels(), qsparse.SquareHead()]
    distiller = qsparse.distill(student, mlp(1), losses)
    history = perceptron.fit(distiller, pixels, [PruneThenQuantize()], 2).history
    assert np.isfinite(history["loss"]).all() and history["phase"][-1] == 3.0


def other_inputs():
    return compiled(keras.Sequential([keras.Input((9,)), layers.Dense(12)]))


def of_probabilities(seed=1):
    model = mlp(seed)
    model.layers[-1].activation = keras.activations.softmax
    return model


def with_a_recipe():
    model = mlp(1)
    qsparse.attach(model, Quantize().recipe)
    return model


def not_compiled():
    return keras.Sequential([keras.Input((16,)), layers.Dense(12)])


def named(**names):
    return keras.distillation.FeatureDistillation("mse", **names)


@pytest.mark.parametrize(
    ("student", "teacher", "losses", "message"),
    [
        (mlp, other_inputs, None, r"inputs differ. Student: .*16.*teacher: .*9"),
        (mlp, with_a_recipe, None, "carries a recipe.*qsparse.strip"),
        (not_compiled, mlp, None, "is not compiled"),
        (mlp, Perceptron, None, "The teacher, .* is not built"),
        (mlp, lambda: "teacher.keras", None, "teacher must be a keras.Model.*'teacher"),
        (mlp, of_probabilities, None, "Teacher .* returns probabilities.*'head'"),
        (of_probabilities, mlp, None, "Student .* returns probabilities.*'head'"),
        (mlp, mlp, qsparse.SquareHead(["hiden"]), "has no layer 'hiden'.*hidden"),
        (mlp, mlp, qsparse.SquareHead({"hidden": "x"}), "Teacher .* no layer 'x'"),
        (mlp, other_inputs, qsparse.SquareHead(), "inputs differ"),
        (mlp, mlp, named(student_layer_name="haed"), "no layer 'haed'.*head"),
        (mlp, mlp, [], "0 losses and 0 weights"),
        (mlp, mlp, "kl", "`losses` holds qsparse.SoftLabels.*Received: 'k'"),
        (
            mlp,
            mlp,
            keras.distillation.LogitsDistillation(4.0),
            "takes logits for probabilities.*temperature=4.0",
        ),
    ],
)
def test_what_cannot_be_distilled(student, teacher, losses, message):
    with pytest.raises(ValueError, match=message):
        qsparse.distill(student(), teacher(), losses)


def test_a_model_is_not_its_own_teacher():
    model = mlp()
    with pytest.raises(ValueError, match="the same model.*clone_model"):
        qsparse.distill(model, model)
    other = compiled(keras.Sequential([keras.Input((16,)), *model.layers]))
    with pytest.raises(ValueError, match="share variables, as .*hidden/kernel"):
        qsparse.distill(other, model)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hard_weight": 1.5}, r"`hard_weight` must be in \[0, 1\]"),
        ({"weights": [1.0, 2.0]}, "1 losses and 2 weights"),
        ({"weights": [-1.0]}, "`weights` must not be negative"),
    ],
)
def test_factors_are_checked(settings, message):
    with pytest.raises(ValueError, match=message):
        qsparse.distill(mlp(), mlp(), **settings)


def test_layers_that_do_not_agree(pixels):
    loss = qsparse.SquareHead({"hidden": "head"})
    distiller = qsparse.distill(mlp(2), mlp(1), loss)
    with pytest.raises(ValueError, match=r"'hidden' of the student and layer 'head'"):
        distiller.train_on_batch(*(part[:25] for part in pixels))


def test_the_distiller_of_keras_is_refused(pixels):
    distiller = keras.distillation.Distiller(
        teacher=mlp(1),
        student=mlp(2),
        distillation_losses=keras.distillation.FeatureDistillation("mse"),
    )
    distiller.compile("adam", "mse")
    with pytest.raises(ValueError, match="SR-STE.*qsparse.distill"):
        perceptron.fit(distiller, pixels, [Prune()], 1)


def test_both_backends_make_the_same_step(tmp_path):
    found = {}
    for backend in ("tensorflow", "jax"):
        run_worker("distill_worker", tmp_path / f"{backend}.npz", backend)
        found[backend] = np.load(tmp_path / f"{backend}.npz")
    ours, theirs = found["tensorflow"], found["jax"]
    assert sorted(ours.files) == sorted(theirs.files)
    assert len(ours.files) > 20
    for name in ours.files:
        # Where values are rounded, one may fall to the other side of a tie.
        loose = 5e-3 if name.startswith("int8") else 1e-5
        np.testing.assert_allclose(
            ours[name], theirs[name], rtol=1e-3, atol=loose, err_msg=name
        )
