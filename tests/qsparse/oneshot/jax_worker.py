"""Compresses a model in one shot on the JAX backend; run by `test_jax`."""

import sys

import keras
import numpy as np

import qsparse
from qsparse.callbacks import Compress
from qsparse.engine.compressor import compressed_layers
from qsparse.methods.formats import Int8
from qsparse.recipes import fashion_mnist

keras.utils.set_random_seed(0)
(x, y), _ = fashion_mnist.load_normalized()
x, y = x[::40], y[::40]
model = keras.Sequential(
    [
        keras.Input((28, 28, 1)),
        keras.layers.Conv2D(16, 3, strides=2, padding="same", use_bias=False),
        keras.layers.BatchNormalization(),
        keras.layers.ReLU(),
        keras.layers.Conv2D(16, 3, strides=2, padding="same", activation="relu"),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(12),
    ]
)
model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
model.fit(x, y, batch_size=50, epochs=1, verbose=0)
recipe = qsparse.Recipe("4x4", 0.5)
report = qsparse.one_shot(model, recipe, x, batch_size=len(x), verbose=0)
assert qsparse.unfinished(model) is None
assert report.renormalized == 1
for row in report.layers:
    assert row.error < row.magnitude, row
masks = {}
for layer in compressed_layers(model):
    kernel = layer.layout.canonical(np.asarray(layer.effective_kernel()))
    weights = layer.master()
    np.testing.assert_array_equal(Int8().decode(*Int8().encode(weights)), weights)
    # XLA divides by a constant in its own way: a scale may be off in its last bit.
    np.testing.assert_allclose(kernel, weights, rtol=1e-6)
    low, high = layer.input_quantizer.ranges.numpy()[0]
    assert low <= 0 < high
    masks[layer.path_in_model] = mask = layer.canonical_mask()
    assert mask is None or (kernel[~mask] == 0).all()
expected = model.predict(x, verbose=0)
model.save(sys.argv[1])
again = qsparse.load_model(sys.argv[1])
np.testing.assert_array_equal(again.predict(x, verbose=0), expected)
model.fit(x, y, batch_size=50, verbose=0, callbacks=[Compress(recipe)])
for layer in compressed_layers(model):
    np.testing.assert_array_equal(layer.canonical_mask(), masks[layer.path_in_model])
qsparse.strip(model)
assert keras.backend.backend() == "jax"
print("compressed on JAX")
