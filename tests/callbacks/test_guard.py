"""The guard: what pruning waits for, and which state is handed back."""

import keras
import numpy as np
import pytest

import qsparse
from qsparse.callbacks import Guard, Prune, PruneThenQuantize, Quantize
from qsparse.engine.compressor import compressed_layers, state_of
from tests import perceptron
from tests.apart import run_python
from tests.perceptron import mlp

STEPS = 10  # of one epoch


class Script(keras.callbacks.Callback):
    """Lets validation find these numbers, one a call; notes the state at each."""

    def __init__(self, values, name="accuracy"):
        super().__init__()
        self.values, self.name = list(values), name
        self.states = []

    def on_test_end(self, logs=None):
        logs[self.name] = self.values.pop(0)
        self.states.append(self.model.get_weights())


def pruning(guard=None, make=Prune, until=40, **settings):
    moments = {"prune_from": 10, "prune_until": until, "update_every": 5}
    return make("unstructured", 0.6, guard=guard, **moments, **settings)


def train(model, pixels, values, callback, *more, name="accuracy", epochs=None):
    script = Script(values, name)
    history = perceptron.fit(
        model,
        pixels,
        [*more, script, callback],
        epochs or len(values),
        validation_data=pixels,
    ).history
    return history, script.states


def zeros(model):
    masks = [c.canonical_mask() for c in compressed_layers(model)]
    return np.mean(np.concatenate([~m.ravel() for m in masks]))


def assert_weights(model, expected):
    for ours, theirs in zip(model.get_weights(), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_pruning_waits_and_goes_on_where_it_stopped(pixels):
    """Two epochs out of bounds delay what comes by two epochs, and nothing else."""
    free, guarded = mlp(), mlp()
    expected, _ = train(free, pixels, [0.9] * 6, pruning())
    values = [0.9, 0.9, 0.8, 0.7, 0.89, 0.9, 0.9, 0.9]
    history, _ = train(guarded, pixels, values, pruning(Guard(max_drop=0.05)))
    of_free = expected["sparsity"]
    order = [0, 1, 2, 2, 2, 3, 4, 5]
    assert history["sparsity"] == pytest.approx([of_free[i] for i in order])
    assert of_free[0] == 0 < of_free[1] < of_free[2] < of_free[3] < of_free[4]
    assert qsparse.unfinished(guarded) is None
    assert zeros(guarded) == pytest.approx(0.6, abs=2e-3)


def test_masks_stay_while_pruning_waits(pixels):
    model = mlp()
    with pytest.warns(UserWarning, match="stopped pruning"):
        _, states = train(
            model, pixels, [0.9, 0.9, 0.8, 0.8], pruning(Guard(), until=39)
        )
    masks = [[w for w in state if w.dtype == bool and w.ndim] for state in states[2:]]
    assert len(masks[0]) == 2 and not masks[0][0].all()
    for before, after in zip(*masks, strict=True):
        np.testing.assert_array_equal(before, after)


def test_the_best_state_within_is_handed_back(pixels, tmp_path):
    """Weights, masks and ranges of the sparsest epoch that was good enough."""
    model, callback = mlp(), pruning(Guard(max_drop=0.015))
    with pytest.warns(UserWarning) as told:
        history, states = train(model, pixels, [0.88, 0.87, 0.8, 0.86, 0.81], callback)
    (message,) = (str(w.message) for w in told if "guard" in str(w.message))
    stopped = history["sparsity"][1]
    assert message == (
        f"The guard stopped pruning at {stopped:.1%} of 60.0%: val_accuracy was 0.81, "
        "< 0.88 - 0.015. The model is that of step 19, with val_accuracy 0.87."
    )
    assert 0 < stopped < history["sparsity"][2]
    pairs = zip(model.get_weights(), states[1], model.weights, strict=True)
    for ours, theirs, variable in pairs:
        if variable.name not in ("clock", "progress"):
            np.testing.assert_array_equal(ours, theirs)
    assert zeros(model) == pytest.approx(stopped)
    assert callback.coverage.sparsity == pytest.approx(stopped)
    assert qsparse.unfinished(model) is None
    assert not hasattr(state_of(model), "guard")
    model.save(tmp_path / "m.keras")
    again = qsparse.load_model(tmp_path / "m.keras")  # and does not warn
    assert qsparse.unfinished(again) is None
    assert_weights(again, model.get_weights())
    more, _ = train(model, pixels, [0.5, 0.5], pruning(Guard(max_drop=0.015)))
    assert more["sparsity"] == pytest.approx([stopped] * 2)


def test_less_of_a_loss_is_better(pixels):
    guard = Guard("val_loss", max_drop=0.1, baseline=1.0)
    model = mlp()
    with pytest.warns(UserWarning, match=r"val_loss was 1.2, > 1 \+ 0.1. .*step 29"):
        train(
            model, pixels, [1.0, 0.5, 1.1, 1.2], pruning(guard, until=39), name="loss"
        )
    assert state_of(model).time().step == 29


def test_int8_is_preferred_where_it_is_within(pixels):
    """And the sparser of both; of equal ones the better."""
    settings = {"make": PruneThenQuantize, "quantize_from": 40}
    values = [0.9, 0.9, 0.9, 0.9, 0.92, 0.95, 0.93]
    model = mlp()
    _, states = train(model, pixels, values, pruning(Guard(), **settings))
    assert_weights(model, states[5])
    assert state_of(model).fake_quantizes and qsparse.unfinished(model) is None
    model = mlp()
    values = [0.9, 0.9, 0.9, 0.9, 0.8, 0.8, 0.8]
    with pytest.warns(UserWarning) as told:
        train(model, pixels, values, pruning(Guard(), **settings))
    messages = " ".join(str(w.message) for w in told)
    assert "which comes before quantize_from" in messages
    assert "prune_until" not in messages
    assert not state_of(model).fake_quantizes
    assert zeros(model) < 0.6


def test_nothing_within_is_said(pixels):
    model = mlp()
    with pytest.warns(UserWarning) as told:
        train(model, pixels, [0.5, 0.6], pruning(Guard(baseline=0.9), until=19))
    messages = " ".join(str(w.message) for w in told)
    assert "No epoch was within the guard: val_accuracy was 0.6 at last" in messages
    assert "The recipe was not carried out: the model is float, 0.0%" in messages


def test_a_real_training_stays_near_its_baseline(pixels):
    """95% of blocks of a perceptron of 896 weights cost more than two points."""
    model = mlp()
    perceptron.fit(model, pixels, [], 40)
    dense = model.evaluate(*pixels, verbose=0, return_dict=True)["accuracy"]
    guard = Guard(max_drop=0.02, baseline=dense)
    callback = Prune("unstructured", 0.95, prune_until=0.9, guard=guard)
    with pytest.warns(UserWarning, match="The guard stopped pruning at"):
        perceptron.fit(model, pixels, [callback], 30, validation_data=pixels)
    found = model.evaluate(*pixels, verbose=0, return_dict=True)["accuracy"]
    assert found >= dense - 0.02
    assert 0.0 < zeros(model) < 0.95
    assert qsparse.unfinished(model) is None


class DieError(Exception):
    pass


class Die(keras.callbacks.Callback):
    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epoch:
            raise DieError


@pytest.mark.parametrize("epoch", [2, 4])
def test_a_resumed_training_has_the_same_guard(pixels, tmp_path, epoch):
    """Killed while pruning waits, and while it goes on; the backup stands first."""
    values = [0.9, 0.8, 0.8, 0.9, 0.9, 0.7]

    def run(folder, left, *more):
        backup = keras.callbacks.BackupAndRestore(folder, delete_checkpoint=False)
        model = mlp()
        with pytest.warns(UserWarning) as told:
            try:
                script = Script(left)
                ours = [backup, script, pruning(Guard(max_drop=0.05)), *more]
                perceptron.fit(model, pixels, ours, 6, validation_data=pixels)
            finally:
                message = [str(w.message) for w in told if "guard" in str(w.message)]
        return model, message

    expected, told = run(tmp_path / "a", values)
    assert len(told) == 1 and "val_accuracy was 0.7, < 0.9 - 0.05" in told[0]
    with pytest.raises(DieError):
        run(tmp_path / "b", values, Die(epoch))
    model, again = run(tmp_path / "b", values[epoch:])
    assert again == told
    assert_weights(model, expected.get_weights())


def test_an_epoch_a_call(pixels):
    """The guard remembers over calls of fit, and settles in the last one."""
    values = [0.9, 0.9, 0.8, 0.8, 0.7]
    whole, staged = mlp(), mlp()
    with pytest.warns(UserWarning, match="stopped pruning"):
        train(whole, pixels, values, pruning(Guard()))
    callback = pruning(Guard(), total_epochs=5)
    for value in values[:-1]:
        train(staged, pixels, [value], callback)
        assert hasattr(state_of(staged), "guard")
    with pytest.warns(UserWarning, match="stopped pruning"):
        train(staged, pixels, values[-1:], callback)
    assert_weights(staged, whole.get_weights())


def test_a_student_is_guarded(pixels):
    student = mlp(2)
    distiller = qsparse.distill(student, mlp(1))
    with pytest.warns(UserWarning, match="stopped pruning at .*0.8"):
        train(distiller, pixels, [0.9, 0.9, 0.8, 0.8], pruning(Guard(), until=39))
    assert state_of(student).time().step == 19
    assert qsparse.unfinished(student) is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"metric": "accuracy"}, "one of validation.*Received: metric='accuracy'"),
        ({"metric": None}, "one of validation"),
        ({"max_drop": -0.1}, "`max_drop` must not be negative"),
        ({"max_drop": "1%"}, "`max_drop` must be a finite number"),
        ({"baseline": float("nan")}, "`baseline` must be a finite number"),
        ({"mode": "up"}, "`mode` must be one of .*Received: mode='up'"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        Guard(**settings)


def test_what_a_guard_cannot_watch(pixels):
    with pytest.raises(ValueError, match="`guard` must be a Guard"):
        Prune(guard=0.01)
    with pytest.raises(ValueError, match="this recipe prunes nothing"):
        Quantize(guard=Guard())
    given = Guard(baseline=0.9)
    with pytest.raises(ValueError, match="fit has no validation data"):
        perceptron.fit(mlp(), pixels, [Prune(guard=given)], 2)
    settings = {"epochs": 2, "validation_data": pixels}
    with pytest.raises(ValueError, match="no epoch ends before pruning begins"):
        perceptron.fit(mlp(), pixels, [Prune(guard=Guard())], **settings)
    unknown = Guard("val_acc", baseline=0.9)
    with pytest.raises(
        ValueError, match="watches 'val_acc', .* val_accuracy, val_loss"
    ):
        perceptron.fit(mlp(), pixels, [Prune(guard=unknown)], **settings)
    model = mlp()

    def mine(labels, logits):
        return keras.ops.mean(logits)

    model.compile("adam", model.loss, metrics=[mine])
    own = Guard("val_mine", baseline=0.9)
    with pytest.raises(ValueError, match="Keras does not know whether more"):
        perceptron.fit(model, pixels, [Prune(guard=own)], **settings)


def test_the_guard_on_jax():
    printed = run_python("-m", "tests.callbacks.guard_worker", backend="jax")
    assert "guarded on jax" in printed


@pytest.mark.parametrize("estimator", ["cast", "soft-shrinkage", "decaying-mask"])
def test_what_is_dense_until_the_end_cannot_be_guarded(estimator):
    with pytest.raises(ValueError, match="computes with weights that are pruned at"):
        Prune("4x4", estimator=estimator, guard=Guard("val_accuracy", 0.1))
