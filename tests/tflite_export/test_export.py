"""Post-training export: any model, everything int8, the numbers of the model."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from keras import layers

import qsparse
from qsparse.tflite_export.files.model_file import ModelFile
from tests.tflite_export import models


@pytest.fixture(scope="module")
def data(images):
    return images[0][:64]


@pytest.mark.parametrize("make", models.CONVOLUTIONAL, ids=lambda m: m.__name__)
def test_everything_is_int8_and_within_two_steps(make, data, tmp_path):
    model = models.build(make, data)
    report = qsparse.export(model, tmp_path / "m.tflite", data)
    assert report.int8_share == 1.0
    assert report.float_ops == []
    assert report.parity.max_lsb <= 2.5
    assert report.parity.off_by_more < 0.02
    types = {op.outputs[0].dtype for op in ModelFile(tmp_path / "m.tflite").ops}
    assert types == {np.dtype(np.int8)}


def test_convolutions_alone_are_exact(data, tmp_path):
    model = models.build(models.sequential_cnn, data)
    report = qsparse.export(model, tmp_path / "m.tflite", data)
    assert report.parity.max_lsb < 1.5
    assert report.parity.mean_lsb < 0.01


def test_transformer_normalizes_in_float_and_multiplies_in_int8(data, tmp_path):
    model = models.build(models.transformer, data)
    report = qsparse.export(model, tmp_path / "m.tflite", data)
    assert report.int8_share == 1.0
    assert report.parity.max_lsb <= 4.5
    ops = ModelFile(tmp_path / "m.tflite").ops
    assert sum(op.name == "BATCH_MATMUL" for op in ops) == 2
    assert all(op.is_int8 for op in ops if op.name in ("BATCH_MATMUL", "GELU"))


def test_predictions_are_those_of_keras(data, test_images, tmp_path):
    keras.utils.set_random_seed(0)
    model = models.sequential_cnn()
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    x, y = test_images
    model.fit(x, y, epochs=2, batch_size=64, verbose=0)
    path = tmp_path / "m.tflite"
    qsparse.export(model, path, data, inference_type="float32")
    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    run = interpreter.get_signature_runner()
    got = np.concatenate(
        [run(**{_input(run): image[None]})["output"] for image in x[:200]]
    )
    wanted = model.predict(x[:200], verbose=0)
    assert np.mean(got.argmax(1) == wanted.argmax(1)) > 0.97


def _input(runner):
    return next(iter(runner.get_input_details()))


def test_batch_size_is_static(data, tmp_path):
    model = models.build(models.sequential_cnn, data)
    report = qsparse.export(model, tmp_path / "m.tflite", data, batch_size=8)
    file = ModelFile(tmp_path / "m.tflite")
    assert file.inputs[0].shape == (8, 28, 28, 1)
    assert report.parity.samples == 8


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_exports_in_int8(policy, data, tmp_path):
    keras.config.set_dtype_policy(policy)
    try:
        model = models.build(models.sequential_cnn, data)
        report = qsparse.export(model, tmp_path / "m.tflite", data)
        assert model.layers[0].compute_dtype == policy.removeprefix("mixed_")
    finally:
        keras.config.set_dtype_policy("float32")
    assert report.int8_share == 1.0
    assert report.parity.max_lsb < 1.5


def test_several_inputs_and_outputs_keep_their_names(data, tmp_path):
    left, right = keras.Input((28,), name="left"), keras.Input((28,), name="right")
    both = layers.Concatenate()([layers.Dense(8)(left), layers.Dense(8)(right)])
    model = keras.Model(
        {"right": right, "left": left},
        {"scores": layers.Dense(3)(both), "product": layers.Multiply()([left, right])},
    )
    rows = data[:, 10, :, 0], data[:, 14, :, 0]
    path = tmp_path / "m.tflite"
    report = qsparse.export(model, path, {"left": rows[0], "right": rows[1]})
    inputs, outputs = ModelFile(path).signature()
    assert set(inputs) == {"left", "right"}
    assert set(outputs) == {"scores", "product"}
    assert report.parity.max_lsb < 1.5
    # A list follows `model.inputs`, which Keras sorts by key.
    listed = qsparse.export(model, tmp_path / "l.tflite", list(rows))
    assert listed.parity == report.parity


def test_uniform_bias_is_not_broken_by_the_converter(data, tmp_path):
    """TensorFlow 2.21 quantizes a bias of equal values with one channel's scale."""
    inputs = keras.Input((28, 28, 1))
    x = layers.Conv2D(8, 3, bias_initializer=keras.initializers.Constant(3.0))(inputs)
    model = keras.Model(inputs, layers.ReLU()(x))
    report = qsparse.export(model, tmp_path / "m.tflite", data)
    assert report.parity.max_lsb < 1.5


@pytest.mark.parametrize("form", ["array", "batches", "pairs", "dataset", "unbatched"])
def test_every_form_of_data_gives_the_same_file(form, data, tmp_path):
    labels = np.zeros(len(data))
    forms = {
        "array": data,
        "batches": [data[:20], data[20:]],
        "pairs": ((data[i : i + 16], labels[i : i + 16]) for i in range(0, 64, 16)),
        "dataset": tf.data.Dataset.from_tensor_slices((data, labels)).batch(10),
        "unbatched": tf.data.Dataset.from_tensor_slices(data),
    }
    model = models.build(models.sequential_mlp, data)
    qsparse.export(model, tmp_path / "a.tflite", data)
    qsparse.export(model, tmp_path / "b.tflite", forms[form])
    a, b = ModelFile(tmp_path / "a.tflite"), ModelFile(tmp_path / "b.tflite")
    for one, other in zip(a.tensors, b.tensors, strict=True):
        np.testing.assert_array_equal(one.scales, other.scales)


def test_report_reads_well(data, tmp_path):
    model = models.build(models.sequential_cnn, data)
    report = qsparse.export(model, tmp_path / "m.tflite", data)
    text = str(report)
    assert "100.0% of" in text and "calibrated" in text and "LSB" in text
    again = json.loads(json.dumps(report.to_dict()))
    assert again["size_bytes"] == (tmp_path / "m.tflite").stat().st_size
