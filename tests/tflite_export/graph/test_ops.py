"""The table of ops is open: a row makes an op known to every pass."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import qsparse
from qsparse.tflite_export.files.model_file import ModelFile
from qsparse.tflite_export.graph import ops
from qsparse.tflite_export.graph.ops import INT8_OPS, SAME_SCALE, SUMS, Op, Trait


def test_a_set_shows_what_the_table_has(monkeypatch):
    assert {"Add", "AddV2"} == set(SUMS) and len(SUMS) == 2
    monkeypatch.setitem(ops.OPS, "AddN", Op(Trait.INT8 | Trait.SUM))
    assert "AddN" in SUMS and "AddN" in SUMS | {"Sub"} and "Sub" not in SUMS
    assert "Sub" in SUMS | {"Sub"} and 3 not in SUMS
    assert set(SUMS | SAME_SCALE) == set(SUMS) | set(SAME_SCALE)


def test_an_op_is_added_by_one_row(images, tmp_path, monkeypatch):
    """Between float ops `Abs` stays in float, until a row says what LiteRT can do."""
    inputs = keras.Input((28, 28, 1))
    x = keras.layers.Conv2D(8, 3, activation="relu")(inputs)
    x = keras.layers.Lambda(lambda t: tf.cos(tf.abs(tf.sin(t))))(x)
    x = keras.layers.Dense(4)(keras.layers.Flatten()(x))
    model = keras.Model(inputs, x)
    found = {}
    for known in (False, True):
        assert "Abs" not in INT8_OPS
        if known:
            monkeypatch.setitem(ops.OPS, "Abs", Op(Trait.INT8))
        path = tmp_path / "m.tflite"
        qsparse.export(model, path, images[0][:64])
        (op,) = (op for op in ModelFile(path).ops if op.name == "ABS")
        found[known] = op.outputs[0].dtype
    assert found == {False: np.float32, True: np.int8}


@pytest.mark.parametrize(
    "op, scale",
    [
        *(("Softmax", 1 / 256), ("LogSoftmax", 16 / 256)),
        *(("Sigmoid", 1 / 256), ("Tanh", 1 / 128)),
    ],
)
def test_built_in_ranges_are_those_of_the_kernels(op, scale):
    """The scales are those of the LiteRT quantization specification."""
    low, high = ops.fixed_range(op)
    assert (high - low) / 255 == scale


def test_other_ops_have_no_built_in_range():
    assert ops.fixed_range("Relu") is None and ops.fixed_range("NoSuchOp") is None
