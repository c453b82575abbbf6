"""Compresses a model in one shot on the JAX backend; run by `test_jax`."""

import sys

import keras
import numpy as np

import qsparse
from qsparse.callbacks import Compress
from qsparse.engine.compressor import compressed_layers
from qsparse.methods.formats import Int8
from qsparse.recipes import fashion_mnist
from qsparse.recipes.resnet import resnet

keras.utils.set_random_seed(0)
(x, y), _ = fashion_mnist.load_normalized()
x, y = x[::40], y[::40]
model = resnet(widths=(16, 32))
model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
model.fit(x, y, batch_size=50, epochs=1, verbose=0)
recipe = qsparse.Recipe("4x4", 0.5)
report = qsparse.one_shot(model, recipe, x, batch_size=100, verbose=0)
assert qsparse.unfinished(model) is None
assert report.renormalized > 0
for row in report.layers:
    assert row.error < row.magnitude, row
masks = {}
for layer in compressed_layers(model):
    kernel = layer.layout.canonical(np.asarray(layer.effective_kernel()))
    np.testing.assert_array_equal(Int8().decode(*Int8().encode(kernel)), kernel)
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
