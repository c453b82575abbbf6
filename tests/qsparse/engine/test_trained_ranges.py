"""Ranges that the optimizer trains, and what becomes of optimizers that were built."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import qsparse
from qsparse import LSQ, Recipe, Rule
from qsparse.callbacks import PruneThenQuantize, Quantize
from qsparse.engine.compressor import compressed_layers, state_of
from qsparse.engine.observers import FLOOR
from qsparse.engine.trained import trained_ranges
from qsparse.keras_compat import innermost, trained_variables
from qsparse.tflite_export.files.model_file import ModelFile
from tests import perceptron
from tests.apart import run_python
from tests.perceptron import mlp

pytestmark = pytest.mark.filterwarnings("ignore:Training makes .* steps from where")


def learning(model, **settings):
    """Attach int8 training with trained ranges to `model`, switched on."""
    qsparse.attach(model, Recipe(pattern=None, observer="lsq", **settings))
    state_of(model).quantizing.assign(True)
    return model


def quantizers(model):
    return [c.input_quantizer for c in compressed_layers(model)]


def gradient_by_loops(x, upstream, low, high, start):
    """Return the gradient of the shares by which (-low, high) grew, as papers say."""
    step = (high - low) / 255
    zero = round(-low / step)
    of_low = of_high = 0.0
    for value, weight in zip(x.ravel(), upstream.ravel(), strict=True):
        if value > high:
            of_high += weight
        elif value < low:
            of_low -= weight
        else:
            rounded = (min(max(round(value / step + zero), 0), 255) - zero) * step
            # The step of a grid of 255 is what the paper's formula is for.
            by_step = (rounded - value) / step
            of_low += weight * by_step / 255
            of_high += weight * by_step / 255
    scale = 1 / np.sqrt(255 * x[0].size)
    # SGD on a share moves an end by its start; on the paper's step, by 255.
    return [
        255**2 * scale * g / s if s else 0.0
        for g, s in zip((of_low, of_high), start, strict=True)
    ]


@pytest.mark.parametrize("grown", [(0.0, 0.0), (-0.5, -0.7), (0.4, -0.3)])
def test_the_gradient_is_that_of_the_papers(grown):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(6, 5, 3)).astype(np.float32)
    upstream = rng.normal(size=x.shape).astype(np.float32)
    model = learning(keras.Sequential([keras.Input((5, 3)), layers.Dense(2)]))
    (quantizer,) = quantizers(model)
    quantizer.ranges.assign([[x.min(), x.max()]])
    quantizer.grown.assign([grown])
    with tf.GradientTape() as tape:
        outputs = quantizer(tf.constant(x), training=True)
        total = tf.reduce_sum(outputs * upstream)
    found = tape.gradient(total, quantizer.grown.value).numpy()[0]
    start = np.array([-x.min(), x.max()])
    low, high = (start * (1 + np.array(grown)) * [-1, 1]).tolist()
    np.testing.assert_allclose(quantizer.limits(), [[low, high]], rtol=1e-6)
    expected = gradient_by_loops(x.astype(float), upstream, low, high, start)
    np.testing.assert_allclose(found, expected, rtol=2e-3)
    np.testing.assert_array_equal(quantizer.ranges.numpy(), [[x.min(), x.max()]])


def test_a_step_of_sgd_moves_the_step_size_as_far_as_the_papers(pixels):
    """A range from 0, as below a ReLU, is the paper's: one step size, 255 of them."""
    x = np.abs(pixels[0][:8]).astype(np.float32)
    model = learning(keras.Sequential([keras.Input((16,)), layers.Dense(2)]))
    (quantizer,) = quantizers(model)
    quantizer.ranges.assign([[0.0, 0.5]])
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(quantizer(tf.constant(x), training=True) ** 2)
    optimizer = keras.optimizers.SGD(1e-6)
    optimizer.build([quantizer.grown])
    optimizer.apply([tape.gradient(total, quantizer.grown.value)])
    step = 0.5 / 255
    slope = 0.0
    for value in x.ravel().astype(float):
        rounded = min(round(value / step), 255)
        by_step = 255 if value / step >= 255 else rounded - value / step
        slope += 2 * rounded * step * by_step
    moved = step - 1e-6 * slope / np.sqrt(255 * 16)
    low, high = quantizer.limits()[0]
    assert low == 0 and abs(high / 255 - moved) < 1e-2 * abs(moved - step)


def test_ranges_begin_with_the_first_step_and_train(pixels):
    class First(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 0 and not hasattr(self, "start"):
                self.start = quantizers(self.model)[0].ranges.numpy()

    model, first, callback = mlp(), First(), Quantize(observer="lsq")
    perceptron.fit(model, pixels, [callback, first])
    assert [row.path for row in callback.coverage.layers] == ["hidden", "head"]
    hidden, head = quantizers(model)
    x = pixels[0][:25]
    np.testing.assert_array_equal(first.start, [[min(x.min(), 0), x.max()]])
    np.testing.assert_array_equal(hidden.ranges.numpy(), first.start)
    assert (hidden.limits() != first.start).any()
    assert head.limits()[0, 0] == 0.0 < head.limits()[0, 1]  # behind a ReLU
    output = compressed_layers(model)[-1].output_quantizer
    assert output.grown is None and (output.limits() == output.ranges.numpy()).all()
    assert qsparse.unfinished(model) is None


def test_a_range_never_falls_below_the_floor_or_loses_zero():
    model = learning(keras.Sequential([keras.Input((2,)), layers.Dense(4)]))
    (quantizer,) = quantizers(model)
    quantizer.ranges.assign([[-1.0, 3.0]])
    for grown in (-1.0, -7.0):
        quantizer.grown.assign([[grown, grown]])
        low, high = quantizer.limits()[0]
        assert low <= 0 <= high and high - low == pytest.approx(FLOOR, rel=1e-4)
        assert np.isfinite(model(np.ones((1, 2), np.float32), training=True)).all()
    optimizer = keras.optimizers.SGD(1.0)
    optimizer.build([quantizer.grown])
    optimizer.apply([np.full((1, 2), 99.0, np.float32)])
    np.testing.assert_array_equal(quantizer.grown.numpy(), [[-1.0, -1.0]])


@pytest.mark.filterwarnings("ignore:Training changed no compressed weight")
def test_a_dead_tensor_has_no_range_and_no_gradient(pixels):
    model = mlp()
    x = np.zeros_like(pixels[0])
    history = perceptron.fit(
        model, (x, pixels[1]), [Quantize(observer="lsq")], epochs=3
    ).history
    assert np.isfinite(history["loss"]).all()
    hidden, _ = quantizers(model)
    np.testing.assert_array_equal(hidden.limits(), [[0.0, 0.0]])
    np.testing.assert_array_equal(hidden.grown.numpy(), [[0.0, 0.0]])


def remembered(model):
    """Return what the optimizer remembers of each trainable variable, by its place."""
    inner = innermost(model.optimizer)
    pairs = zip(inner._momentums, inner._velocities, strict=True)
    slots = [np.stack([m.numpy(), v.numpy()]) for m, v in pairs]
    return {
        id(variable): slot
        for variable, slot in zip(trained_variables(inner), slots, strict=True)
    }


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_an_optimizer_that_was_built_takes_ranges_on_and_forgets_nothing(
    policy, pixels
):
    keras.config.set_dtype_policy(policy)
    try:
        model = mlp()
    finally:
        keras.config.set_dtype_policy("float32")
    perceptron.fit(model, pixels, [])
    before, steps = remembered(model), int(innermost(model.optimizer).iterations)
    assert steps and all(slot.any() for slot in before.values())
    recipe = Recipe(None, observer="lsq")
    qsparse.attach(model, recipe)
    after, ranges = remembered(model), trained_ranges(model)
    assert len(ranges) == 2 and list(after) == list(map(id, model.trainable_variables))
    assert not any(after.pop(id(v)).any() for v in ranges)
    assert int(innermost(model.optimizer).iterations) == steps
    for key, slot in before.items():
        np.testing.assert_array_equal(after.pop(key), slot)
    assert not after
    perceptron.fit(model, pixels, [Quantize(observer="lsq", quantize_from=0.5)])
    # Pixels are multiples of 1/255, which float16 rounds to themselves: no gradient.
    assert any(v.numpy().any() for v in ranges)
    kept = remembered(model)
    qsparse.strip(model)
    left = remembered(model)
    assert list(left) == list(map(id, model.trainable_variables)) == list(before)
    for key, slot in left.items():
        np.testing.assert_array_equal(kept[key], slot)
    perceptron.fit(model, pixels, [])


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: keras.optimizers.SGD(1e-3, momentum=0.9),
        lambda: keras.optimizers.AdamW(1e-3, use_ema=True),
        lambda: keras.optimizers.Nadam(1e-3),
        lambda: keras.optimizers.Adafactor(1e-3),
        lambda: keras.optimizers.Adam(1e-3, gradient_accumulation_steps=2),
        lambda: keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.1, 9)),
    ],
    ids=["momentum", "ema", "nadam", "adafactor", "accumulation", "schedule"],
)
def test_optimizers_go_on_as_if_ranges_had_come_and_gone_unseen(optimizer, pixels):
    """A model that had ranges for no step trains as one that never had any."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", ".*__array__")
        plain, other = mlp(optimizer=optimizer()), mlp(optimizer=optimizer())
        for model in (plain, other):
            perceptron.fit(model, pixels, [])
        qsparse.attach(other, Recipe(None, observer="lsq"))
        qsparse.strip(other)
        for model in (plain, other):
            perceptron.fit(model, pixels, [])
    for ours, theirs in zip(plain.weights, other.weights, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


@pytest.mark.parametrize("learned", [{"observer": "lsq"}, {"format": "learned-int4"}])
def test_an_optimizer_that_hides_what_it_remembers_is_refused(learned, pixels):
    class Hidden(keras.optimizers.SGD):
        def build(self, variables):
            super().build(variables)
            self.hidden = {"slot": self.add_variable((3,), name="hidden")}

    model = mlp(optimizer=Hidden(1e-3))
    perceptron.fit(model, pixels, [])
    with pytest.raises(ValueError, match="Hidden has made steps.*Compile the model"):
        qsparse.attach(model, Recipe(None, **learned))
    assert state_of(model) is None and type(model.layers[0]) is layers.Dense
    fresh = mlp(optimizer=Hidden(1e-3))
    perceptron.fit(fresh, pixels, [Quantize(**learned)])
    qsparse.strip(fresh)
    assert type(fresh.layers[0]) is layers.Dense
    perceptron.fit(fresh, pixels, [])


def test_a_large_rate_cannot_let_a_range_wander_off(pixels):
    model = mlp(optimizer=keras.optimizers.SGD(0.5, momentum=0.9))
    perceptron.fit(model, pixels, [Quantize(observer="lsq")], epochs=3)
    for quantizer in quantizers(model):
        start, now = quantizer.ranges.numpy(), quantizer.limits()
        assert (np.abs(now) <= 2 * np.abs(start) + 1e-6).all()


def test_symmetric_ranges_are_not_trained():
    model = mlp()
    with pytest.raises(ValueError, match="'hidden' has observer=.*a16w8"):
        qsparse.attach(model, Recipe(None, observer="lsq", format="a16w8"))
    assert state_of(model) is None


def test_a_criterion_that_reads_along_still_does(pixels):
    """Sums of gradients lie in the optimizer as well."""
    model = mlp()
    perceptron.fit(model, pixels, [])
    callback = PruneThenQuantize(
        "unstructured", 0.5, criterion="saliency", prune_from=0.2, observer="lsq"
    )
    history = perceptron.fit(model, pixels, [callback], epochs=4).history
    assert history["sparsity"][-1] == 0.5
    assert all(v.numpy().any() for v in trained_ranges(model))


def test_a_rule_has_one_layer_trained(pixels):
    model = mlp()
    rules = [Rule("head", observer=LSQ())]
    perceptron.fit(model, pixels, [Quantize(rules=rules)])
    hidden, head = quantizers(model)
    assert hidden.grown is None and head.grown.numpy().any()


@pytest.mark.parametrize("learned", [{"observer": "lsq"}, {"format": "learned-int4"}])
def test_a_training_that_was_saved_goes_on_bit_for_bit(learned, pixels, tmp_path):
    def callback():
        return Quantize(**learned, total_epochs=3)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", ".*__array__")
        straight = mlp()
        perceptron.fit(straight, pixels, [callback()], epochs=1)
        straight.save(tmp_path / "m.keras")
        resumed = qsparse.load_model(tmp_path / "m.keras")
        for model in (straight, resumed):
            perceptron.fit(model, pixels, [callback()], epochs=2)
    ours = [*straight.variables, *straight.optimizer.variables]
    theirs = [*resumed.variables, *resumed.optimizer.variables]
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy(), err_msg=a.path)
    assert any(v.numpy().any() for v in trained_ranges(resumed))


def test_the_file_has_the_trained_range(pixels, tmp_path):
    model = mlp()
    perceptron.fit(model, pixels, [Quantize(observer="lsq")])
    hidden, _ = quantizers(model)
    low, high = hidden.limits()[0]
    assert (hidden.limits() != hidden.ranges.numpy()).any()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        report = qsparse.export(model, tmp_path / "m.tflite", pixels[0][:64])
    assert report.ranges["calibrated"] == 0
    (entry,) = ModelFile((tmp_path / "m.tflite").read_bytes()).inputs
    assert entry.scales[0] == pytest.approx((high - low) / 255, rel=1e-5)


def test_trained_ranges_cannot_be_frozen():
    for settings in ({"observer": "lsq"}, {"rules": [Rule("a", observer="lsq")]}):
        with pytest.raises(ValueError, match="optimizer trains cannot be frozen"):
            Recipe(freeze_ranges_from=0.9, **settings)


_ON_JAX = """
import keras, numpy as np, qsparse
from qsparse.callbacks import Quantize
from qsparse.engine.compressor import compressed_layers

stack = [keras.layers.Dense(8, "relu"), keras.layers.Dense(4)]
model = keras.Sequential([keras.Input((16,)), *stack])
model.compile("adam", "mse")
rng = np.random.default_rng(0)
x, y = rng.normal(size=(200, 16)), rng.normal(size=(200, 4))
settings = {"batch_size": 20, "shuffle": False, "verbose": 0}
model.fit(x, y, **settings)
slot = model.optimizer._velocities[0].numpy()
assert slot.any()
learned = {"observer": "lsq", "format": "learned-int4"}
qsparse.attach(model, qsparse.Recipe(None, **learned))
assert (model.optimizer._velocities[0].numpy() == slot).all()
callback = Quantize(**learned, quantize_from=0.5)
model.fit(x, y, epochs=2, callbacks=[callback], **settings)
for layer in compressed_layers(model):
    quantizer = layer.input_quantizer
    assert quantizer.grown.numpy().any()
    assert (quantizer.limits() != quantizer.ranges.numpy()).any()
    assert layer.scales.grown.numpy().any()
    codes, scale = layer.canonical_integers()
    kernel = layer.layout.canonical(np.asarray(layer.effective_kernel()))
    # XLA divides by a constant in its own way: a scale may be off in its last bit.
    np.testing.assert_allclose(kernel, codes * scale, rtol=1e-6)
qsparse.strip(model)
model.fit(x, y, **settings)
print(keras.backend.backend())
"""


def test_they_train_on_jax_too():
    assert run_python("-c", _ON_JAX, backend="jax").strip() == "jax"
