"""What cannot be exported is refused with the reason, and leaves no trace."""

import keras
import numpy as np
import pytest
from keras import layers

import qsparse
from qsparse.callbacks import PruneThenQuantize, Quantize
from qsparse.tflite_export.graph.convert import _explain
from tests.tflite_export import models


@pytest.fixture(scope="module")
def data(images):
    return images[0][:8]


@pytest.fixture
def model(data):
    return models.build(models.sequential_mlp, data)


@pytest.mark.parametrize(
    "make_data, error, message",
    [
        (lambda x: x[:0], ValueError, "empty"),
        (lambda x: iter(()), ValueError, "empty"),
        (lambda x: None, TypeError, "must hold samples.*Received: NoneType"),
        (lambda x: 3, TypeError, "Received: int"),
        (lambda x: "images.npz", TypeError, "Received: str"),
        (
            lambda x: x[:, :20],
            ValueError,
            r"shape \(8, 20, 28, 1\).*\(None, 28, 28, 1\)",
        ),
        (lambda x: x[0], ValueError, "with the batch first"),
        (lambda x: x * np.nan, ValueError, "NaN or infinite"),
        (lambda x: {"wrong": x}, ValueError, "lacks the inputs"),
    ],
)
def test_unusable_data(make_data, error, message, model, data, tmp_path):
    with pytest.raises(error, match=message):
        qsparse.export(model, tmp_path / "m.tflite", make_data(data))
    assert list(tmp_path.iterdir()) == []


def test_wrong_number_of_inputs(data, tmp_path):
    a, b = keras.Input((28,), name="a"), keras.Input((28,), name="b")
    model = keras.Model([a, b], layers.Dense(2)(layers.Add()([a, b])))
    rows = data[:, 0, :, 0]
    with pytest.raises(
        ValueError, match="has 2 inputs .* but representative_data has 3"
    ):
        qsparse.export(model, tmp_path / "m.tflite", [rows, rows, rows])
    with pytest.raises(ValueError, match="different numbers of samples"):
        qsparse.export(model, tmp_path / "m.tflite", [rows, rows[:3]])


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"inference_type": "int4"}, "one of.*float32.*int8.*got 'int4'"),
        ({"batch_size": 0}, "batch_size must be a positive integer, got 0"),
        ({"calibration_samples": 1.5}, "positive integer, got 1.5"),
    ],
)
def test_wrong_arguments(arguments, message, model, data, tmp_path):
    with pytest.raises(ValueError, match=message):
        qsparse.export(model, tmp_path / "m.tflite", data, **arguments)


def test_unusable_paths(model, data, tmp_path):
    with pytest.raises(ValueError, match="must end in .tflite, got"):
        qsparse.export(model, tmp_path / "m.bin", data)
    with pytest.raises(FileNotFoundError, match="no_such_folder.*Create it first"):
        qsparse.export(model, tmp_path / "no_such_folder" / "m.tflite", data)


def test_nan_weights_name_the_layer(model, data, tmp_path):
    model.layers[2].kernel.assign(model.layers[2].kernel * np.nan)
    with pytest.raises(ValueError, match=f"{model.layers[2].name}/kernel'.*diverged"):
        qsparse.export(model, tmp_path / "m.tflite", data)
    assert list(tmp_path.iterdir()) == []


def test_model_that_is_not_built(data, tmp_path):
    model = keras.Sequential([layers.Flatten(), layers.Dense(3)])
    with pytest.raises(ValueError, match="is not built"):
        qsparse.export(model, tmp_path / "m.tflite", data)


def test_op_litert_lacks_is_named(data, tmp_path):
    inputs = keras.Input((28, 28, 1))
    scores = layers.Dense(3)(layers.Flatten()(inputs))
    model = keras.Model(inputs, keras.ops.argmax(scores, axis=-1))
    with pytest.raises(RuntimeError, match="LiteRT has no kernel for BitwiseAnd"):
        qsparse.export(model, tmp_path / "m.tflite", data)
    assert list(tmp_path.iterdir()) == []


def test_failure_leaves_an_existing_file_untouched(model, data, tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(b"precious")
    with pytest.raises(RuntimeError, match="floor is 150 dB.*It was not written"):
        qsparse.export(model, path, data, min_sqnr=150)
    assert path.read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [path]


class Standardized(layers.Layer):
    """Predicts with other weights than those of the layer in it."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inner = layers.Dense(12, name="inner")

    def build(self, shape):
        self.inner.build(shape)

    def call(self, x, training=False):
        if training:
            return self.inner(x)
        kernel = self.inner.kernel
        mean = keras.ops.mean(kernel, axis=0)
        return keras.ops.matmul(x, kernel - mean) + self.inner.bias


def standardized(images, callback):
    """Return a trained model whose one compressed layer is not used as it is."""
    inputs = keras.Input((28, 28, 1))
    x = layers.Flatten()(layers.MaxPooling2D(4)(inputs))
    model = keras.Model(inputs, Standardized(name="head")(x))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(True))
    x, y = images[0][:128], images[1][:128]
    model.fit(x, y, epochs=2, batch_size=32, verbose=0, callbacks=[callback])
    return model


def test_strict_refuses_layers_that_are_not_exact(images, tmp_path):
    model, path = standardized(images, Quantize()), tmp_path / "m.tflite"
    with pytest.raises(RuntimeError, match="'head/inner' is changed.*Exclude"):
        qsparse.export(model, path, images[0][:64], strict=True)
    assert list(tmp_path.iterdir()) == []
    report = qsparse.export(model, path, images[0][:64])
    assert [(m.tensor, m.state) for m in report.layers] == [(None, "changed")]
    assert "changed" in str(report)


def test_a_lost_pruned_layer_is_always_refused(images, tmp_path):
    pattern = qsparse.Unstructured()
    model = standardized(images, PruneThenQuantize(pattern, 0.5))
    with pytest.raises(RuntimeError, match="not written: 'head/inner' is changed"):
        qsparse.export(model, tmp_path / "m.tflite", images[0][:64])
    assert not list(tmp_path.iterdir())


def test_float64_is_refused_by_name(tmp_path):
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(4, dtype="float64", name="wide")]
    )
    with pytest.raises(ValueError, match="'wide' computes in float64"):
        qsparse.export(model, tmp_path / "m.tflite", np.zeros((2, 4), np.float32))


def test_what_the_converter_dumps_is_read_for_the_user():
    dump = (
        '<unknown>:0: error: loc(callsite(fused["OneHot:", '
        '"frozen/net_1/codes_1/one_hot@__inference_run_5"] at fused[...])): '
        "'tfl.one_hot' op operand #2 must be tensor of 32-bit integer values"
    )
    said = _explain(dump)
    assert said.startswith("the LiteRT converter refuses OneHot of 'net_1/codes_1/")
    assert "loc(" not in said and "dynamic_range=True" in said
