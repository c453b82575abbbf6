"""What LiteRT has no form of, and what it has another one of."""

import keras
import numpy as np
import pytest
from keras import layers

import qsparse
from qsparse.tflite_export import verify_file


def token_model(dtype):
    inputs = keras.Input((6,), dtype=dtype, name="ids")
    x = layers.Flatten()(layers.Embedding(50, 8)(inputs))
    return keras.Model(inputs, layers.Dense(3)(x))


@pytest.fixture(scope="module")
def ids():
    return np.random.default_rng(0).integers(0, 50, (64, 6))


def test_token_ids_in_float_have_a_clear_way_out(ids, tmp_path):
    keras.utils.set_random_seed(0)
    model, path = token_model("float32"), tmp_path / "m.tflite"
    with pytest.raises(ValueError, match=r"'ids' is float.*\(Cast\).*dtype='int32'"):
        qsparse.export(model, path, ids.astype("float32"))
    report = qsparse.export(
        model, path, ids.astype("float32"), inference_type="float32"
    )
    assert report.parity.max_lsb < 1.5


@pytest.mark.parametrize("strings", [False, True])
def test_a_lookup_is_refused_by_name(strings, tmp_path):
    words = ["cat", "dog"] if strings else [3, 5]
    lookup = (layers.StringLookup if strings else layers.IntegerLookup)(
        vocabulary=words, name="lookup"
    )
    inputs = keras.Input((4,), dtype="string" if strings else "int64", name="words")
    x = layers.Flatten()(layers.Embedding(4, 4)(lookup(inputs)))
    model = keras.Model(inputs, layers.Dense(3)(x))
    data = np.array(words)[np.arange(256).reshape(64, 4) % 2]
    named = "'words' takes strings" if strings else r"'lookup' \(IntegerLookup\)"
    with pytest.raises(ValueError, match=named):
        qsparse.export(model, tmp_path / "m.tflite", data)


def test_a_model_saved_in_bfloat16_is_verified(images, tmp_path):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Flatten(dtype="bfloat16"),
            layers.Dense(8, dtype="bfloat16"),
        ]
    )
    qsparse.export(model, tmp_path / "m.tflite", images[0][:64])
    model.save(tmp_path / "m.keras")
    found = verify_file(tmp_path / "m.keras", tmp_path / "m.tflite", images[0][:8])
    assert found.failures == []


def test_a_model_with_lora_is_verified(ids, tmp_path):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6,), dtype="int32")
    embedding = layers.Embedding(50, 16)
    x = embedding(inputs)
    attention = layers.MultiHeadAttention(2, 8)
    x = layers.LayerNormalization()(x + attention(x, x))
    dense = layers.Dense(8)
    model = keras.Model(inputs, dense(x))
    for layer in (embedding, attention.query_dense, attention.value_dense, dense):
        layer.enable_lora(2)
    path = tmp_path / "m.tflite"
    qsparse.export(model, path, ids.astype("int32"))
    assert verify_file(model, path, ids[:8].astype("int32")).failures == []
