"""Patch convolutions in front of normalizations, against the Keras model."""

import keras
import numpy as np
from keras import layers

import qsparse
from qsparse.callbacks import PruneThenQuantize
from qsparse.tflite_export import verify_file
from qsparse.tflite_export.files.model_file import ModelFile
from tests.conftest import compiled
from tests.tflite_export.against_keras import against_keras


def test_a_patch_convolution_before_a_normalization_stays_in_float(images, tmp_path):
    x, y = images[0][:256], images[1][:256]
    keras.utils.set_random_seed(3)
    inputs = keras.Input((28, 28, 1))
    z = layers.Conv2D(16, 4, strides=4, name="patch")(inputs)
    z = layers.LayerNormalization()(layers.Reshape((49, 16))(z))
    z = layers.Dense(16)(layers.Activation("gelu")(layers.Dense(32)(z)))
    z = layers.Conv2D(32, 3, strides=2, name="pruned")(layers.Reshape((7, 7, 16))(z))
    z = layers.GlobalAveragePooling2D()(layers.LayerNormalization()(z))
    model, path = keras.Model(inputs, layers.Dense(12)(z)), tmp_path / "m.tflite"
    compiled(model).fit(x, y, verbose=0, callbacks=[PruneThenQuantize()])
    report = qsparse.export(model, path, x[:48])
    states = {match.path: match.state for match in report.layers}
    assert states["patch"] == "in float" and states["pruned"] == "found"
    convolutions = [op for op in ModelFile(path).ops if op.name == "CONV_2D"]
    assert [op.outputs[0].dtype for op in convolutions] == [np.float32, np.int8]
    (far,) = against_keras(model, path, x[:48])
    # In int8 it is 10 steps and 15.5 dB off.
    assert far.lsb.max() < 5 and far.sqnr.min() > 22
    assert not verify_file(model, path, x[:8]).failures
