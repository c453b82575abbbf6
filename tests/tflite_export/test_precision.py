"""Files with float activations or float weights hold the same zeros."""

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

import qsparse
from qsparse.callbacks import PruneThenQuantize
from qsparse.engine.compressor import compressed_layers
from qsparse.tflite_export.files.model_file import ModelFile
from qsparse.tflite_export.runtime.interpreter import Interpreter as SparseInterpreter
from tests.conftest import compiled, small_cnn


def wide_cnn():
    """Weights of at least 1,024 elements, which the converter quantizes, and fewer."""
    inputs = keras.Input((28, 28, 1))
    x = keras.layers.Conv2D(32, 3, strides=4, activation="relu")(inputs)
    x = keras.layers.Conv2D(32, 3, use_bias=False)(x)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=0.9)(x))
    x = keras.layers.Conv2D(16, 1, activation="relu")(
        keras.layers.Flatten()(x)[:, None, None]
    )
    return compiled(
        keras.Model(inputs, keras.layers.Dense(12)(keras.layers.Flatten()(x)))
    )


def trained(model, images, callback):
    keras.utils.set_random_seed(3)
    x, y = images[0][:512], images[1][:512]
    model.fit(x, y, epochs=2, batch_size=64, verbose=0, callbacks=[callback])
    return model


@pytest.fixture(scope="module")
def quantized(images):
    return trained(wide_cnn(), images, PruneThenQuantize(qsparse.NM(2, 4)))


@pytest.fixture(scope="module")
def pruned(images):
    recipe = qsparse.Recipe(qsparse.NM(2, 4), quantize=False)
    return trained(wide_cnn(), images, qsparse.callbacks.Compress(recipe))


def run(path, batch):
    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    (entry,), (out,) = interpreter.get_input_details(), interpreter.get_output_details()
    results = []
    for sample in batch:
        interpreter.set_tensor(entry["index"], sample[None])
        interpreter.invoke()
        results.append(interpreter.get_tensor(out["index"])[0])
    return np.stack(results)


def assert_zeros_are_kept(model, path, report):
    tensors = {tensor.name: tensor for tensor in ModelFile(path).tensors}
    layers = {layer.path_in_model: layer for layer in compressed_layers(model)}
    masked = 0
    for match in report.layers:
        mask = layers[match.path].mask()
        if mask is None:
            continue
        stored = tensors[match.tensor].data.reshape(mask.shape)
        assert not stored[~mask].any()
        assert stored[mask].any()
        masked += np.count_nonzero(~mask)
    assert masked > 5_000
    assert report.sparsity > 0.45


@pytest.mark.parametrize("kind", ["quantized", "pruned"])
def test_float_file_is_the_trained_model(kind, request, images, tmp_path):
    model, path = request.getfixturevalue(kind), tmp_path / "m.tflite"
    batch = images[0][:64]
    report = qsparse.export(model, path, batch, quantize=False)
    assert report.precision == "float" and report.int8_share == 0.0
    assert all(t.dtype != np.int8 for t in ModelFile(path).tensors)
    assert report.parity.max_lsb < 0.01
    assert_zeros_are_kept(model, path, report)
    if kind == "pruned":  # the other one also rounds its activations
        expected = model.predict(batch, verbose=0)
        np.testing.assert_allclose(run(path, batch), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["quantized", "pruned"])
def test_dynamic_range_has_the_trained_integers(kind, request, images, tmp_path):
    model, path = request.getfixturevalue(kind), tmp_path / "m.tflite"
    batch = images[0][:64]
    report = qsparse.export(model, path, batch, dynamic_range=True)
    assert report.precision == "dynamic-range" and report.int8_share > 0.8
    assert report.parity.mean_lsb < 1.0
    assert_zeros_are_kept(model, path, report)
    tensors = {tensor.name: tensor for tensor in ModelFile(path).tensors}
    layers = {layer.path_in_model: layer for layer in compressed_layers(model)}
    exact = 0
    for match in report.layers:
        if match.dtype != "int8":
            assert match.weights < 1024
            continue
        values, _ = layers[match.path].integer_weights()
        stored = tensors[match.tensor].data.reshape(values.shape)
        np.testing.assert_array_equal(np.abs(stored), np.abs(values))
        exact += 1
    assert exact >= 2
    logits = model.predict(batch, verbose=0)
    # The model also rounds its logits, which this file does not: a lead of less than
    # two steps is none.
    second, first = np.sort(logits, axis=1)[:, -2:].T
    step = np.diff(np.unique(logits)).min()
    clear = first - second > 2 * step
    assert clear.sum() > 20
    same = np.argmax(run(path, batch), axis=1) == np.argmax(logits, axis=1)
    assert same[clear].mean() > 0.95


def test_four_bits_keep_the_zeros_and_run(quantized, images, tmp_path):
    path, batch = tmp_path / "m.tflite", images[0][:64]
    report = qsparse.export(quantized, path, batch, dynamic_range=True, weight_bits=4)
    assert_zeros_are_kept(quantized, path, report)
    assert [m.dtype for m in report.layers].count("int4") >= 2
    wide = qsparse.export(quantized, tmp_path / "8.tflite", batch, dynamic_range=True)
    assert report.size_bytes < 0.7 * wide.size_bytes
    for _, weights in ModelFile(path).layers():
        if weights.dtype == "int4":
            levels = np.abs(weights.data.astype(np.int8))
            assert levels.max() <= 7
            rows = weights.data.astype(np.float32).reshape(weights.shape[0], -1)
            eight = {w.name: w for _, w in ModelFile(tmp_path / "8.tflite").layers()}
            exact = eight[weights.name]
            wanted = exact.data.reshape(rows.shape) * exact.scales[:, None]
            error = rows * weights.scales[:, None] - wanted
            step = np.abs(wanted).max(axis=1) / 7
            assert np.mean(np.abs(error) <= 0.5 * step[:, None]) > 0.97
    expected = np.argmax(quantized.predict(batch, verbose=0), axis=1)
    assert np.mean(np.argmax(run(path, batch), axis=1) == expected) > 0.8


def test_our_delegate_leaves_float_activations_alone(quantized, images, tmp_path):
    path, batch = tmp_path / "m.tflite", images[0][:4]
    qsparse.export(quantized, path, batch, dynamic_range=True)
    interpreter = SparseInterpreter(path)
    interpreter.allocate_tensors()
    (entry,), (out,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.set_tensor(entry["index"], batch[:1])
    interpreter.invoke()
    ours = interpreter.get_tensor(out["index"])
    np.testing.assert_array_equal(ours, run(path, batch[:1]))


def test_a_model_that_was_never_compressed(images, tmp_path):
    model = small_cnn()
    for options in ({"dynamic_range": True}, {"quantize": False}):
        report = qsparse.export(model, tmp_path / "m.tflite", images[0][:8], **options)
        assert report.layers == [] and report.parity.mean_lsb < 1.0


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"dynamic_range": True, "quantize": False}, "Leave one of them out"),
        ({"dynamic_range": True, "inference_type": "int8"}, "must be 'float32'"),
        ({"quantize": False, "inference_type": "int8"}, "must be 'float32'"),
        ({"weight_bits": 4}, "needs dynamic_range=True"),
        ({"dynamic_range": True, "weight_bits": 2}, "must be 4 or 8, got 2"),
        ({"target": "tpu"}, "None or 'ethos-u85', got 'tpu'"),
        ({"target": "ethos-u85", "quantize": False}, "computes in int8"),
    ],
)
def test_contradictions_are_refused(arguments, message, images, tmp_path):
    with pytest.raises(ValueError, match=message):
        qsparse.export(small_cnn(), tmp_path / "m.tflite", images[0][:8], **arguments)
    assert list(tmp_path.iterdir()) == []


def test_ethos_takes_two_of_four(quantized, images, tmp_path):
    path = tmp_path / "m.tflite"
    report = qsparse.export(quantized, path, images[0][:8], target="ethos-u85")
    file = ModelFile(path)
    assert report.target == file.metadata()["target"] == "ethos-u85"
    pruned = {match.tensor for match in report.layers if match.pattern}
    assert pruned
    for _, weights in file.int8_layers():
        if weights.name in pruned:
            groups = (weights.data != 0).reshape(-1, 4).sum(axis=1)
            assert groups.max() == 2


def test_ethos_refuses_other_zeros(cnn, images, tmp_path):
    with pytest.raises(ValueError, match="no layer of this model is pruned"):
        qsparse.export(cnn, tmp_path / "m.tflite", images[0][:8], target="ethos-u85")
    trained(cnn, images, PruneThenQuantize(qsparse.Block((4, 4)), 0.5))
    with pytest.raises(ValueError, match=r"'\S*conv2d\S*' \(4x4 blocks.*NM\(2, 4\)"):
        qsparse.export(cnn, tmp_path / "m.tflite", images[0][:8], target="ethos-u85")
    assert list(tmp_path.iterdir()) == []
