"""Trains on two logical CPUs; run by `test_compressor`."""

from contextlib import nullcontext

import keras
import numpy as np
import tensorflow as tf

from qsparse import MovingAverage
from qsparse.callbacks import PruneThenQuantize
from qsparse.engine.compressor import compressed_layers
from qsparse.recipes import fashion_mnist
from tests.qsparse.engine.test_compressor import mlp

(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * 2
)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    model = mlp()
(images, labels), _ = fashion_mnist.load_normalized()
x, y = images[:256, 12:16, 12:16].reshape(256, 16), labels[:256]
# The second half of each batch goes to the second replica.
x = np.where(np.arange(256)[:, None] % 32 < 16, x, 3 * x).astype(np.float32)
data = tf.data.Dataset.from_tensor_slices((x, y)).batch(32)
callback = PruneThenQuantize(quantize_from=0.0, observer=MovingAverage(0.0))
history = model.fit(data, epochs=2, verbose=0, callbacks=[callback]).history
assert abs(history["sparsity"][-1] - 0.75) < 1e-6, history
first = compressed_layers(model)[0].input_quantizer.ranges.numpy()[0]
expected = (x[-32:-16].max() + x[-16:].max()) / 2
np.testing.assert_allclose(first[1], expected, rtol=1e-6)
print("masks and ranges are shared by two replicas")
with strategy.scope():
    model = mlp()
callback = PruneThenQuantize("unstructured", criterion="saliency", prune_from=0.25)
history = model.fit(data, epochs=2, verbose=0, callbacks=[callback]).history
assert abs(history["sparsity"][-1] - 0.75) < 1e-2, history
print("gradients are summed by two replicas")
masks = []
for scope in (strategy.scope, nullcontext):
    keras.utils.set_random_seed(1)
    with scope():
        model = mlp()
    settings = {"criterion": "snip", "score_data": (x, y), "schedule": "constant"}
    callback = PruneThenQuantize("unstructured", **settings)
    model.fit(data, epochs=2, verbose=0, callbacks=[callback])
    masks.append([c.canonical_mask() for c in compressed_layers(model)])
for ours, theirs in zip(*masks, strict=True):
    np.testing.assert_array_equal(ours, theirs)
print("data is gone through once for two replicas")
kernels = []
for scope in (strategy.scope, nullcontext):
    keras.utils.set_random_seed(1)
    with scope():
        model = mlp()
    settings = {"schedule": "one-shot", "estimator": "cast"}
    callback = PruneThenQuantize("unstructured", quantize_from=0.9, **settings)
    model.fit(data, epochs=2, verbose=0, callbacks=[callback])
    masks = [c.canonical_mask() for c in compressed_layers(model)]
    kernels.append([c.values() for c in compressed_layers(model)])
assert abs(np.mean([m.mean() for m in masks]) - 0.25) < 1e-2
for ours, theirs in zip(*kernels, strict=True):
    assert np.abs(ours - theirs).mean() < 1e-3
print("weights settle alike on two replicas")
