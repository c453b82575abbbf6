"""Trains, saves, loads and strips on the JAX backend; run by `test_jax`."""

import sys

import jax
import keras
import numpy as np

import qsparse
from qsparse.callbacks import Prune, PruneThenQuantize
from qsparse.engine.compressor import compressed_layers, state_of
from qsparse.engine.state import ModelState
from qsparse.recipes import fashion_mnist
from qsparse.recipes.resnet import resnet


def small():
    """Return a classifier that compiles in a moment."""
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            keras.layers.Conv2D(8, 3, strides=2, use_bias=False, name="stem"),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            keras.layers.Conv2D(16, 3, strides=2, activation="relu", name="conv"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(10, name="head"),
        ]
    )


switches, original = set(), ModelState.switch


def switch(state):
    found = original(state)
    switches.add(type(found))
    return found


ModelState.switch = switch
keras.utils.set_random_seed(0)
(x, y), _ = fashion_mnist.load_normalized()
x, y = x[::20], y[::20]
model = resnet(widths=(16, 32))
model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
history = model.fit(
    x, y, batch_size=50, epochs=4, verbose=0, callbacks=[PruneThenQuantize()]
).history
assert history["phase"] == [1.0, 1.0, 3.0, 3.0], history
assert model.predict(x, verbose=0).shape == (len(x), 10)
assert switches == {bool}, switches  # What Keras traces has no branch.
# A shortcut has 8 blocks for 4 tiles of outputs: it loses 4 of them, not 6.
assert abs(history["sparsity"][-1] - (0.75 * 1120 - 2) / 1120) < 1e-6, history
assert history["sparsity"][0] < history["sparsity"][1]
for layer in compressed_layers(model):
    mask = layer.canonical_mask()
    kernel = np.asarray(layer.effective_kernel())
    assert mask is None or (layer.layout.canonical(kernel)[~mask] == 0).all()
    low, high = layer.input_quantizer.ranges.numpy()[0]
    assert low <= 0.0 < high

clock = state_of(model).time()
assert clock.step == 4 * len(x) // 50 - 1, clock
assert state_of(model).clock.numpy().tolist() == clock.to_list()
# What the optimizer is given is added up: weights do not move at a rate of 0.
tapped = small()
tapped.compile(keras.optimizers.SGD(0.0), model.loss)
late = {"prune_from": 900, "prune_until": 999, "total_steps": 1000}
recipe = {"criterion": "saliency", "estimator": "ste", "freeze_statistics_from": None}
tapped.fit(
    *(x[:100], y[:100]),
    batch_size=50,
    shuffle=False,
    verbose=0,
    callbacks=[Prune("unstructured", 0.5, **recipe, **late)],
)
trained, others = tapped.trainable_variables, tapped.non_trainable_variables


@jax.jit
@jax.grad
def gradients_of(values, images, labels):
    logits, _ = tapped.stateless_call(
        values, [v.value for v in others], images, training=True
    )
    return tapped.loss(labels, logits)


summed = [0.0 for _ in trained]
for rows in (slice(0, 50), slice(50, 100)):
    found = gradients_of([v.value for v in trained], x[rows], y[rows])
    summed = [a + np.asarray(b) for a, b in zip(summed, found, strict=True)]
for layer in compressed_layers(tapped):
    index = next(i for i, v in enumerate(trained) if v is layer.master_variable)
    np.testing.assert_allclose(
        layer.gradient_sums.values()["gradients"], summed[index], rtol=1e-3, atol=1e-6
    )
qsparse.strip(tapped)
tapped.compile("adam", model.loss)
now = Prune("unstructured", 0.5, criterion="saliency", prune_from=0.25)
history = tapped.fit(x, y, batch_size=50, epochs=2, verbose=0, callbacks=[now]).history
assert abs(history["sparsity"][-1] - 0.5) < 1e-3, history
qsparse.strip(tapped)
assert type(tapped.optimizer) is keras.optimizers.Adam

expected = model.predict(x, verbose=0)


@jax.jit
def infer(trained, others):
    return model.stateless_call(trained, others, x[:50], training=False)[0]


def of_the_user():
    both = model.trainable_variables, model.non_trainable_variables
    return infer(*([v.value for v in variables] for variables in both))


np.testing.assert_allclose(of_the_user(), expected[:50], rtol=1e-4, atol=1e-4)
state_of(model).quantizing.assign(False)
off = model.predict(x, verbose=0)
assert (off != expected).any()
np.testing.assert_allclose(of_the_user(), off[:50], rtol=1e-4, atol=1e-4)
kept, time = model.get_weights(), state_of(model).time()
state_of(model).advance(999)
model.set_weights(kept)
assert state_of(model).time() == time
state_of(model).advance(999)
model.evaluate(x[:50], y[:50], verbose=0)  # hands back what it was given
assert state_of(model).time().step == 999
state_of(model).set_time(time)
state_of(model).quantizing.assign(True)
np.testing.assert_array_equal(model.predict(x, verbose=0), expected)

# One layer at a time, in a model that is given back as it was: also after Ctrl-C in the
# middle of a batch, and after a training that JAX keeps the state of.
probed = small()
probed.compile("adam", model.loss)
probed.fit(x[:100], y[:100], verbose=0)
before = [np.array(v) for v in probed.get_weights()]
few = {"sparsities": (0.5,), "recipe": qsparse.Recipe("unstructured", 0.5)}
report = qsparse.sensitivity(probed, (x[:100], y[:100]), **few)
assert report.metric == "loss", report
assert {row.path for row in report.rows} == {"stem", "conv", "head"}, report
assert max(abs(row.drop) for row in report.rows) > 0
noise = qsparse.sensitivity(probed, x[:100], **few)
assert noise.metric == "noise" and min(row.drop for row in noise.rows) > 0
test_function, calls = probed.test_function, []


def interrupted(*args):
    calls.append(args)
    if len(calls) == 6:
        raise KeyboardInterrupt
    return test_function(*args)


probed.test_function = interrupted
try:
    qsparse.sensitivity(probed, (x[:100], y[:100]), **few)
except KeyboardInterrupt:
    probed.test_function = test_function
else:
    raise AssertionError("nobody pressed Ctrl-C")
for ours, theirs in zip(probed.get_weights(), before, strict=True):
    np.testing.assert_array_equal(ours, theirs)

# Shares by scores, and by what was measured.
for allocation in ("lamp", report.allocation):
    probed.set_weights(before)
    shared = Prune("unstructured", 0.7, allocation=allocation)
    history = probed.fit(x, y, batch_size=50, epochs=2, verbose=0, callbacks=[shared])
    pruned = [c for c in compressed_layers(probed) if c.pattern is not None]
    weights = sum(c.master().size for c in pruned)
    zeros = sum(int((~c.canonical_mask()).sum()) for c in pruned)
    assert abs(zeros - 0.7 * weights) <= len(pruned), (allocation, zeros, weights)
    qsparse.strip(probed)

model.save(sys.argv[1])
again = qsparse.load_model(sys.argv[1])
np.testing.assert_array_equal(again.predict(x, verbose=0), expected)
try:
    qsparse.export(again, sys.argv[1] + ".tflite", x)
except ValueError as error:
    assert "set KERAS_BACKEND=tensorflow" in str(error), error
else:
    raise AssertionError("exported on JAX")
qsparse.strip(model)
assert type(model.get_layer("stem")) is keras.layers.Conv2D
assert keras.backend.backend() == "jax"
print("trained on JAX")
