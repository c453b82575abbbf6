"""A layer keeps its identity from the model to the file, whatever becomes of it."""

import keras
import keras_hub
import numpy as np
import pytest
from keras import layers, ops

import qsparse
from qsparse.callbacks import PruneThenQuantize
from qsparse.engine.compressor import compressed_layers
from qsparse.engine.fixed import export_mode
from qsparse.tflite_export import verify_file
from qsparse.tflite_export.files.model_file import ModelFile
from qsparse.tflite_export.graph.convert import convert
from qsparse.tflite_export.graph.freeze import freeze
from qsparse.tflite_export.graph.samples import collect
from qsparse.tflite_export.parity.trained import restore, trained_layers
from qsparse.tflite_export.passes import FLOAT_PASSES
from qsparse.tflite_export.passes.base import Context
from qsparse.tflite_export.passes.run import run
from tests.tflite_export.against_keras import against_keras

HALF = {"pattern": qsparse.Unstructured(), "sparsity": 0.5}


def trained(model, x, **settings):
    """Train a model a few steps on what it predicts; return it."""
    model.compile("adam", "mse")
    callback = PruneThenQuantize(**(settings or HALF))
    y = model.predict(x, verbose=0)
    model.fit(x, y, epochs=2, batch_size=32, verbose=0, callbacks=[callback])
    return model


def states(report):
    return {match.path: match.state for match in report.layers}


def check_integers(model, path, report):
    """Assert that a file has the trained integers, a whole channel perhaps negated.

    Channels in which the file has only zeros are not looked at.
    """
    tensors = {tensor.name: tensor for tensor in ModelFile(path).tensors}
    by_path = {layer.path_in_model: layer for layer in compressed_layers(model)}
    checked = 0
    for match in report.layers:
        if match.tensor is None:
            continue
        wanted, _ = by_path[match.path].integer_weights()
        stored = tensors[match.tensor].data
        assert stored.dtype == np.int8
        rows = stored.reshape(wanted.shape)
        axis = 3 if wanted.ndim == 4 and wanted.shape[0] == 1 else 0
        for mine, its in zip(
            np.moveaxis(wanted, axis, 0), np.moveaxis(rows, axis, 0), strict=True
        ):
            if its.any():
                assert np.array_equal(mine, its) or np.array_equal(mine, -its)
                checked += 1
    return checked


# Layers that the exported graph does not use


class Auxiliary(layers.Layer):
    """Looks at its input in training only, as an auxiliary head does."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.head = layers.Dense(8, name="head")

    def build(self, shape):
        self.head.build(shape)

    def call(self, x, training=None):
        if training:
            self.add_loss(1e-3 * ops.mean(ops.square(self.head(x))))
        return x


@pytest.mark.parametrize(
    "precision", [{}, {"dynamic_range": True}, {"quantize": False}], ids=str
)
def test_a_layer_used_in_training_only_is_reported_as_unused(
    precision, headed, images, tmp_path
):
    path = tmp_path / "m.tflite"
    report = qsparse.export(headed, path, images[0][:64], **precision)
    assert states(report) == {
        "body": "found",
        "auxiliary/head": "unused",
        "logits": "found",
    }
    assert "unused" in str(report)
    if not precision:
        assert verify_file(headed, path, images[0][:8]).failures == []


@pytest.fixture(scope="module")
def headed(images):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((28, 28, 1))
    x = layers.Flatten()(layers.AveragePooling2D(4)(inputs))
    x = layers.Dense(32, activation="relu", name="body")(x)
    x = Auxiliary(name="auxiliary")(x)
    model = keras.Model(inputs, layers.Dense(12, name="logits")(x))
    return trained(model, images[0][:128])


class Repeated(layers.Layer):
    """Calls one layer in a loop."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.step = layers.Dense(16, name="step")

    def build(self, shape):
        self.step.build(shape)

    def call(self, x):
        return ops.fori_loop(0, 3, lambda _, h: ops.tanh(self.step(h)), x)


def test_weights_in_a_loop_are_reported_as_such():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((16,))
    x = Repeated(name="loop")(inputs)
    model = keras.Model(inputs, layers.Dense(4, name="last")(x))
    qsparse.attach(model, qsparse.Recipe())
    samples = collect(model, np.eye(16, dtype=np.float32))
    with export_mode(model):
        graph = freeze(model, samples.specs, samples.structure)
    run(graph, FLOAT_PASSES, Context(batches=samples.batches))
    file = ModelFile(convert(graph, "float32", quantize_weights=False))
    matches = restore(file, graph, trained_layers(model), in_integers=False)
    found = {match.path: match.state for match in matches}
    assert found.pop("last") == "found"
    assert set(found.values()) <= {"in a loop"}  # attach may leave it alone


# Decoders: a factor stands between a normalization and trained weights


class Rotary(layers.Layer):
    """Rotates pairs of channels by the position."""

    def call(self, x):
        half = x.shape[-1] // 2
        time = ops.arange(x.shape[1], dtype="float32")[:, None]
        angle = time * 10000.0 ** (-ops.arange(half, dtype="float32") / half)
        c, s = ops.cos(angle), ops.sin(angle)
        a, b = x[..., :half], x[..., half:]
        return ops.concatenate([a * c - b * s, b * c + a * s], -1)


@pytest.fixture(scope="module")
def rows(images):
    """Return images as sequences of 7 tokens of 28 values."""
    return np.ascontiguousarray(images[0][:128, ::4, :, 0])


@pytest.fixture(scope="module")
def decoder(rows):
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((7, 28))
    x = layers.Dense(32, name="embed")(x)
    normal = layers.RMSNormalization(name="norm_1")(x)
    q, k, v = (layers.Dense(32, use_bias=False, name=n)(normal) for n in "qkv")
    q, k = Rotary()(q), Rotary()(k)
    scores = layers.Softmax()(ops.matmul(q, ops.transpose(k, (0, 2, 1))) / 32**0.5)
    x = x + layers.Dense(32, use_bias=False, name="o")(ops.matmul(scores, v))
    normal = layers.RMSNormalization(name="norm_2")(x)
    gate = layers.Dense(64, use_bias=False, activation="silu", name="gate")(normal)
    up = layers.Dense(64, use_bias=False, name="up")(normal)
    x = x + layers.Dense(32, use_bias=False, name="down")(0.5 * gate * up)
    normal = layers.RMSNormalization(name="norm_3")(x)
    model = trained(keras.Model(inputs, layers.Dense(4, name="head")(normal)), rows)
    rng = np.random.default_rng(0)
    for n in (1, 2, 3):  # as after long training
        model.get_layer(f"norm_{n}").set_weights([rng.uniform(0.5, 2, 32)])
    return model


@pytest.mark.parametrize(
    "precision", [{}, {"dynamic_range": True}, {"quantize": False}], ids=str
)
def test_a_decoder_block_has_its_weights_in_every_precision(
    precision, decoder, rows, tmp_path
):
    path = tmp_path / "m.tflite"
    report = qsparse.export(decoder, path, rows, strict=True, **precision)
    assert set(states(report).values()) == {"found"}
    assert report.sparsity == pytest.approx(0.5, abs=0.02)
    if precision == {"quantize": False}:
        assert report.parity.max_lsb < 1e-2
    else:
        # Dynamic range leaves weights of fewer than 1,024 elements in float.
        small = {m.path for m in report.layers if m.dtype == "float32"}
        assert small <= {"embed", "head"}


def test_llama_has_its_weights_with_float_activations(tmp_path):
    keras.utils.set_random_seed(0)
    model = keras_hub.models.LlamaBackbone(
        vocabulary_size=64,
        num_layers=1,
        num_query_heads=4,
        num_key_value_heads=2,
        hidden_dim=32,
        intermediate_dim=64,
        tie_word_embeddings=True,
    )
    ids = np.random.default_rng(0).integers(1, 64, (32, 8)).astype("int32")
    x = {"token_ids": ids, "padding_mask": np.ones_like(ids)}
    trained(model, x)
    report = qsparse.export(model, tmp_path / "m.tflite", x, dynamic_range=True)
    assert set(states(report).values()) == {"found"}
    assert len(report.layers) == 7


def test_a_layer_that_computes_a_constant_is_folded(rows, tmp_path):
    """XLNet multiplies its position encoding, which no input changes, by weights."""

    class Positions(layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.encoding = layers.Dense(32, name="encoding")

        def build(self, shape):
            self.encoding.build((None, 28))

        def call(self, x):
            angle = ops.arange(7.0)[:, None] / 10.0 ** ops.arange(28.0)
            return x + self.encoding(ops.sin(angle)[None])

    keras.utils.set_random_seed(0)
    inputs = keras.Input((7, 28))
    x = Positions(name="positions")(layers.Dense(32, name="first")(inputs))
    model = trained(keras.Model(inputs, layers.Dense(4, name="last")(x)), rows)
    path = tmp_path / "m.tflite"
    report = qsparse.export(model, path, rows)
    assert states(report) == {
        "first": "found",
        "positions/encoding": "folded",
        "last": "found",
    }
    assert verify_file(model, path, rows[:8]).failures == []


# Small channels


@pytest.fixture(scope="module")
def normalized(images):
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((28, 28, 1))
    x = layers.Conv2D(8, 3, strides=4, use_bias=False, name="conv")(x)
    x = layers.ReLU()(layers.BatchNormalization(name="norm")(x))
    x = layers.Dense(4, name="dense")(layers.Flatten()(x))
    return trained(keras.Model(inputs, x), images[0][:128])


@pytest.mark.parametrize(
    ("weight", "channels", "value", "counts"),
    [
        ("gamma", slice(None), 1e-6, (8, 0, 0)),
        ("gamma", slice(1), 1e-6, (1, 0, 0)),
        ("gamma", slice(None), 0.0, (0, 0, 8)),
        ("gamma", slice(2), 1e-30, (0, 2, 0)),
        ("moving_variance", slice(1), 1e14, (0, 1, 0)),
    ],
)
def test_channels_however_small_do_not_refuse_a_layer(
    weight, channels, value, counts, normalized, images, tmp_path
):
    """Exact, or coarser as an int32 bias asks for, or gone: the report says so."""
    norm = normalized.get_layer("norm")
    before = norm.get_weights()
    variable = getattr(norm, weight)
    changed = variable.numpy()
    changed[channels] = value
    variable.assign(changed)
    path = tmp_path / "m.tflite"
    try:
        report = qsparse.export(normalized, path, images[0][:64], strict=True)
        assert verify_file(normalized, path, images[0][:8]).failures == []
    finally:
        norm.set_weights(before)
    (conv,) = (match for match in report.layers if match.path == "conv")
    assert (conv.state, conv.dtype) == ("found", "int8")
    assert (conv.regridded, conv.coarse, conv.vanished) == counts
    if not conv.coarse:
        checked = check_integers(normalized, path, report)
        assert checked >= 8 - conv.vanished
    assert report.parity.max_lsb < 1.5


def test_a_convolution_with_one_output_channel_is_verified(images, tmp_path):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((28, 28, 1))
    x = layers.Conv2D(8, 3, strides=4, activation="relu", name="first")(inputs)
    x = layers.Flatten()(layers.Conv2D(1, 3, name="one")(x))
    model = trained(keras.Model(inputs, x), images[0][:64])
    path = tmp_path / "m.tflite"
    report = qsparse.export(model, path, images[0][:64], strict=True)
    found = verify_file(model, path, images[0][:8])
    assert found.failures == []
    (row,) = (row for row in found.weights if row.layer == "one")
    assert (row.weights, row.changed, row.masked) == (72, 0, 36)
    assert set(states(report).values()) == {"found"}


def test_channels_first_are_verified(images, tmp_path):
    """In the file channels come last; nothing is wrong where the two are compared."""
    keras.utils.set_random_seed(0)
    first = {"data_format": "channels_first"}
    inputs = keras.Input((4, 14, 14))
    x = layers.Conv2D(8, 3, activation="relu", name="one", **first)(inputs)
    x = layers.Conv2D(8, 3, name="two", **first)(layers.MaxPooling2D(2, **first)(x))
    x = layers.Dense(4)(layers.GlobalAveragePooling2D(**first)(x))
    model, path = keras.Model(inputs, x), tmp_path / "m.tflite"
    x = images[0][:64].reshape(64, 14, 2, 14, 2).transpose(0, 2, 4, 1, 3)
    x = x.reshape(64, 4, 14, 14)
    qsparse.export(model, path, x)
    found = verify_file(model, path, x[:8])
    assert found.failures == []
    assert {row.layer for row in found.weights} >= {"one", "two"}
    assert against_keras(model, path, x)[0].lsb.max() < 4
