"""The clock runs on the host; files, weights and traced functions follow it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import qsparse
from qsparse.callbacks import PruneThenQuantize, Quantize
from qsparse.engine.compressor import compressed_layers, state_of
from qsparse.engine.fixed import export_mode
from qsparse.engine.phases import Phases
from qsparse.engine.state import ModelState
from tests.conftest import compiled
from tests.perceptron import fit, mlp

STEPS = 10  # of one epoch
pytestmark = pytest.mark.filterwarnings(
    "ignore:Skipping variable loading for opt", "ignore:The recipe was not carried out"
)


class AtStep(keras.callbacks.Callback):
    """Does something after one step of training."""

    def __init__(self, step, action):
        super().__init__()
        self.step, self.action, self.done = step, action, 0

    def on_train_batch_end(self, batch, logs=None):
        if self.done == self.step:
            self.action(self.model)
        self.done += 1


@pytest.mark.parametrize("step", [0, 3, 9, 10, 13])
def test_a_file_saved_after_any_step_holds_that_step(step, pixels, tmp_path):
    path = tmp_path / "m.weights.h5"
    save = AtStep(step, lambda model: model.save_weights(path))
    fit(mlp(), pixels, [PruneThenQuantize(update_every=4), save])
    again = qsparse.load_weights(mlp(), path)
    assert state_of(again).time().step == step
    assert state_of(again).fake_quantizes == (step >= STEPS)
    assert state_of(again).clock.numpy().tolist() == state_of(again).time().to_list()


def test_nothing_is_written_while_nothing_is_due(pixels):
    """Two epochs: the clock is stored at their ends, the switch is turned once."""
    model, callback = mlp(), Quantize(quantize_from=0.75)
    qsparse.attach(model, callback.recipe)
    state, written = state_of(model), []
    for variable in (state.clock, state.quantizing):

        def assign(value, variable=variable, original=variable.assign):
            written.append(variable.name)
            return original(value)

        variable.assign = assign
    fit(model, pixels, [callback])
    # Where it starts, at both ends, and with the switch.
    assert written == ["clock", "clock", "quantizing", "clock", "clock"]


@pytest.mark.parametrize("first", [True, False])
def test_weights_in_memory_bring_the_clock_back(first, pixels):
    """`EarlyStopping` asks for weights at the end of an epoch, before or after us."""
    kept = {}

    class Keep(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            kept[epoch] = self.model.get_weights()

    model, ours = mlp(), PruneThenQuantize()
    fit(model, pixels, [Keep(), ours] if first else [ours, Keep()])
    after = model.predict(pixels[0], verbose=0)
    model.set_weights(kept[0])
    assert state_of(model).time().step == STEPS - 1
    assert not state_of(model).fake_quantizes
    before = model.predict(pixels[0], verbose=0)
    model.set_weights(kept[1])
    assert state_of(model).time().step == 2 * STEPS - 1
    np.testing.assert_array_equal(model.predict(pixels[0], verbose=0), after)
    assert (before != after).any()


def test_every_traced_function_sees_the_switch(pixels):
    """Also those of models that contain this one, or share its layers."""
    x, y = pixels
    model = mlp()
    part = keras.Model(model.inputs, model.layers[0].output)
    inputs = keras.Input((16,))
    whole = compiled(keras.Model(inputs, model(inputs)))
    qsparse.attach(model, Quantize(quantize_from=0.5).recipe)

    def seen():
        return (
            model.predict(x, verbose=0),
            part.predict(x, verbose=0),
            whole.predict(x, verbose=0),
            np.array(model.evaluate(x, y, verbose=0)),
            np.array(whole.evaluate(x, y, verbose=0)),
        )

    def fresh():
        for each in (model, part, whole):
            for name in ("train", "test", "predict"):
                setattr(each, f"{name}_function", None)
        return seen()

    seen()
    fit(model, pixels, [Quantize(quantize_from=0.5)])
    quantized = seen()
    for ours, anew in zip(quantized, fresh(), strict=True):
        np.testing.assert_array_equal(ours, anew)
    state_of(model).quantizing.assign(False)
    plain = seen()
    assert all((a != b).any() for a, b in zip(plain[:3], quantized[:3], strict=True))
    for ours, anew in zip(plain, fresh(), strict=True):
        np.testing.assert_array_equal(ours, anew)


def test_validation_in_the_epoch_of_the_switch_is_quantized(pixels):
    model = mlp()
    history = model.fit(
        *pixels,
        batch_size=25,
        epochs=3,
        verbose=0,
        validation_data=pixels,
        callbacks=[Quantize(quantize_from=15)],
    ).history
    loss, _ = model.evaluate(*pixels, verbose=0)
    assert loss == pytest.approx(history["val_loss"][-1], rel=1e-6)
    assert compressed_layers(model)[0].input_quantizer.ranges.numpy().any()


def test_a_weight_that_is_set_while_training_turns_the_switch(pixels):
    """Somebody brings back weights in the middle of an epoch; `fit` goes on."""
    start = {}
    model = mlp()
    keep = AtStep(4, lambda m: start.update(w=m.get_weights()))
    back = AtStep(15, lambda m: m.set_weights(start["w"]))
    fit(model, pixels, [PruneThenQuantize(), keep, back])
    assert state_of(model).fake_quantizes
    assert np.isfinite(model.predict(pixels[0], verbose=0)).all()


@pytest.mark.filterwarnings("ignore:Training makes 40 steps")
def test_a_custom_loop_brings_the_clock_into_the_variables():
    """By itself with masks and switches; in between it is asked for a snapshot."""
    model = mlp()
    qsparse.attach(model, PruneThenQuantize(prune_until=0.5, update_every=5).recipe)
    phases, state = Phases(model), state_of(model)
    phases.start(40)
    shown = []
    for done in range(30):
        phases.step(done)
        shown.append(int(state.clock.numpy()[0]))
    assert shown[:6] == [0, 0, 0, 0, 0, 5]
    assert shown[-1] == 20  # masks and switch are through
    phases.store_time()
    assert state.clock.numpy().tolist() == state.time().to_list()
    assert any(w.tolist() == [29, 0, 40, 0, 40] for w in model.get_weights() if w.shape)


def test_weights_of_the_last_epoch_rewind_the_clock_in_mid_epoch(pixels):
    """They bring the variable what it holds already."""
    kept = {}

    class Keep(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            kept[epoch] = self.model.get_weights()

    def interrupt(model):
        raise KeyboardInterrupt

    model = mlp()
    with pytest.raises(KeyboardInterrupt):
        callbacks = [Quantize(quantize_from=0.75), Keep(), AtStep(13, interrupt)]
        fit(model, pixels, callbacks)
    assert state_of(model).time().step == 13
    model.set_weights(kept[0])
    assert state_of(model).time().step == STEPS - 1


def restored(model, folder, recipe):
    """Returns a fresh model that has what `tf.train.Checkpoint` restores of another."""
    path = tf.train.Checkpoint(model=model).write(str(folder / "checkpoint"))
    again = mlp()
    qsparse.attach(again, recipe)
    again.predict(np.zeros((1, 16), np.float32), verbose=0)
    tf.train.Checkpoint(model=again).read(path).expect_partial()
    return again


def test_whatever_runs_after_a_tensorflow_checkpoint_has_its_clock(pixels, tmp_path):
    x = pixels[0][:32]
    callback = PruneThenQuantize()
    model = mlp()
    fit(model, pixels, [callback])
    expected = model.predict(x, verbose=0)
    clock = state_of(model).time()

    def again():
        return restored(model, tmp_path, callback.recipe)

    first = again()
    assert qsparse.unfinished(first) is None
    np.testing.assert_array_equal(first.predict(x, verbose=0), expected)

    saved = again()
    saved.save_weights(tmp_path / "m.weights.h5")
    loaded = qsparse.load_weights(mlp(), tmp_path / "m.weights.h5")
    assert state_of(loaded).time() == clock
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), expected)

    exported = again()
    with export_mode(exported, on_grid=False):
        assert compressed_layers(exported)[0].fixed.integers is not None

    phases = Phases(again())
    phases.start(10)
    phases.step(0)
    state = phases._state
    assert (state.time().step, state.fake_quantizes) == (clock.step + 1, True)

    attached = again()
    qsparse.attach(attached, callback.recipe)
    np.testing.assert_array_equal(attached.predict(x, verbose=0), expected)


def test_a_checkpoint_between_phases_and_start_is_where_training_goes_on(
    pixels, tmp_path
):
    callback = PruneThenQuantize()
    model = mlp()
    fit(model, pixels, [callback])
    path = tf.train.Checkpoint(model=model).write(str(tmp_path / "checkpoint"))
    again = mlp()
    qsparse.attach(again, callback.recipe)
    phases = Phases(again)
    tf.train.Checkpoint(model=again).read(path).expect_partial()
    phases.start(10)
    phases.step(0)
    assert state_of(again).time().step == 2 * STEPS


def switches(monkeypatch):
    """Returns a list that grows by what every layer finds its switch to be."""
    found = []
    original = ModelState.switch

    def switch(self):
        found.append(original(self))
        return found[-1]

    monkeypatch.setattr(ModelState, "switch", switch)
    return found


@pytest.mark.parametrize("steps_per_execution", [1, 2])
@pytest.mark.parametrize("jit_compile", [True, False])
def test_what_keras_traces_has_no_branch(
    steps_per_execution, jit_compile, pixels, monkeypatch
):
    model = mlp()
    settings = {"steps_per_execution": steps_per_execution, "jit_compile": jit_compile}
    model.compile(model.optimizer, model.loss, **settings)
    found = switches(monkeypatch)
    fit(model, pixels, [Quantize(quantize_from=0.5)])
    model.evaluate(*pixels, verbose=0)
    model.predict(pixels[0], verbose=0)
    assert {type(switch) for switch in found} == {bool}


def test_functions_of_the_user_follow_the_switch(pixels):
    x = pixels[0][:32]
    model = mlp()
    qsparse.attach(model, Quantize(quantize_from=0.5).recipe)
    infer = tf.function(lambda t: model(t, training=False))
    plain = infer(x).numpy()
    np.testing.assert_allclose(plain, model.predict(x, verbose=0), rtol=1e-6)
    # One that is traced within `fit`, by a callback.
    within = tf.function(lambda t: model(t, training=False))
    call = AtStep(3, lambda _: within(x))
    fit(model, pixels, [Quantize(quantize_from=0.5), call])
    for function in (infer, within):
        np.testing.assert_allclose(
            function(x), model.predict(x, verbose=0), rtol=1e-5, atol=1e-6
        )
    state_of(model).quantizing.assign(False)
    quantized = model.predict(x, verbose=0), infer(x).numpy(), model(x).numpy()
    for ours in quantized[1:]:
        np.testing.assert_allclose(ours, quantized[0], rtol=1e-5, atol=1e-6)


def step_of(model, optimizer):
    """Returns a step of training as a user writes it."""
    optimizer.build(model.trainable_variables)

    @tf.function
    def step(x, y):
        with tf.GradientTape() as tape:
            loss = model.loss(y, model(x, training=True)) + sum(model.losses)
        found = tape.gradient(loss, model.trainable_variables)
        optimizer.apply(found, model.trainable_variables)

    return step


def test_a_step_of_the_user_learns_ranges_though_it_is_traced_once(pixels):
    model, optimizer = mlp(), keras.optimizers.Adam(1e-2)
    qsparse.attach(model, Quantize(quantize_from=0.5).recipe)
    step = step_of(model, optimizer)
    phases = Phases(model)
    phases.start(STEPS)
    first = compressed_layers(model)[0].input_quantizer
    for done in range(STEPS):
        phases.step(done)
        rows = slice(25 * done, 25 * done + 25)
        step(pixels[0][rows], pixels[1][rows])
        assert first.ranges.numpy().any() == (done >= STEPS // 2)
    assert step.experimental_get_tracing_count() == 1
    assert qsparse.unfinished(model) is None
    low, high = first.ranges.numpy()[0]
    assert (low, high) == (0.0, pytest.approx(pixels[0].max(), rel=0.1))


def test_a_step_of_the_user_computes_what_fit_does(pixels):
    """With the switch on, a branch has the values and gradients of none."""
    x, y = pixels[0][:25], pixels[1][:25]
    weights = []
    for of_keras in (True, False):
        model = mlp()
        model.compile(keras.optimizers.SGD(0.1), model.loss)
        qsparse.attach(model, Quantize().recipe)
        state_of(model).quantizing.assign(True)
        ours = step_of(model, model.optimizer)
        step = model.train_on_batch if of_keras else ours
        for _ in range(3):
            step(x, y)
        weights.append(model.get_weights())
    for ours, theirs in zip(*weights, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


class Distiller(keras.Model):
    """Evaluates the student that it holds, which is what its step calls."""

    def __init__(self, student):
        super().__init__()
        self.student = student
        self.mean = keras.metrics.Mean("student_loss")

    def call(self, x, training=False):
        return self.student(x, training=training)

    def test_step(self, data):
        x, y = data
        self.mean.update_state(self.student.loss(y, self.student(x, training=False)))
        return {"student_loss": self.mean.result()}


def test_a_model_whose_step_calls_another_is_traced_anew(pixels, monkeypatch):
    model = mlp()
    qsparse.attach(model, Quantize(quantize_from=0.5).recipe)
    distiller = Distiller(model)
    distiller.compile("sgd", model.loss)
    found = switches(monkeypatch)

    def loss():
        return distiller.evaluate(*pixels, verbose=0, return_dict=True)["student_loss"]

    loss()
    assert {type(switch) for switch in found} == {bool}
    fit(model, pixels, [Quantize(quantize_from=0.5)])
    trained = loss()
    state_of(model).quantizing.assign(False)
    off = loss()
    assert trained != off
    assert off == pytest.approx(model.evaluate(*pixels, verbose=0)[0], rel=0.02)
