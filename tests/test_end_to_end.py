"""From `model.fit` to the sparse kernels, for every kind of model and order."""

import keras
import numpy as np
import pytest

import qsparse
from qsparse.callbacks import Joint, Prune, PruneThenQuantize, QuantizeThenPrune
from qsparse.engine.compressor import compressed_layers
from qsparse.recipes.evaluate import predict
from qsparse.tflite_export import Interpreter
from qsparse.tflite_export.runtime.interpreter import plain_interpreter
from tests import models


def _exported(model, images, test_images, callback, tmp_path):
    keras.utils.set_random_seed(5)
    x, y = images
    model.fit(x, y, epochs=3, batch_size=50, callbacks=[callback], verbose=0)
    path = tmp_path / "model.tflite"
    report = qsparse.export(model, path, representative_data=x[:128])
    ours = predict(Interpreter(path), test_images[0][:300])
    stock = predict(plain_interpreter(path), test_images[0][:300])
    np.testing.assert_array_equal(ours.raw, stock.raw)
    keras_logits = model.predict(test_images[0][:300], verbose=0)
    assert stock.raw.std() > 10
    return report, stock, keras_logits


def right(outputs, labels):
    return int((outputs.argmax(axis=1) == labels).sum())


@pytest.mark.parametrize("name", models.IMAGE_MODELS)
def test_every_kind_of_model(name, images, test_images, tmp_path):
    model = models.IMAGE_MODELS[name]()
    report, stock, logits = _exported(
        model, images, test_images, PruneThenQuantize(), tmp_path
    )
    # One rounding in many flips, and a flip may grow by a step on its way.
    assert stock.max_lsb(logits) <= 3
    assert report.int8_share == 1.0
    # After an epoch many classes are close; those that are not are the same.
    second, first = np.sort(logits)[:, -2:].T
    sure = first - second > 2 * 3 * stock.scale
    assert sure.sum() > 50
    np.testing.assert_array_equal(
        stock.raw.argmax(axis=1)[sure], logits.argmax(axis=1)[sure]
    )


@pytest.mark.parametrize(
    "callback",
    [
        QuantizeThenPrune(),
        QuantizeThenPrune(qsparse.NM(2, 4)),
        Joint(qsparse.NM(1, 4, (4, 4))),
        PruneThenQuantize("unstructured", 0.9),
        PruneThenQuantize(qsparse.Block((8, 4)), 0.5),
    ],
    ids=["Q->S 4x4", "Q->S 2:4", "joint 1:4 of 4x4", "unstructured", "8x4"],
)
def test_every_order(cnn, callback, images, test_images, tmp_path):
    report, stock, logits = _exported(cnn, images, test_images, callback, tmp_path)
    assert stock.max_lsb(logits) <= 3
    assert all(match.tensor is not None for match in report.layers)
    masks = [c.canonical_mask() for c in compressed_layers(cnn)]
    masked = sum(int((~m).sum()) for m in masks if m is not None)
    in_file = sum(m.sparsity * m.weights for m in report.layers)
    assert in_file >= masked - 0.5


def test_pruned_only_is_quantized_at_export(cnn, images, test_images, tmp_path):
    report, stock, logits = _exported(cnn, images, test_images, Prune(), tmp_path)
    assert report.int8_share == 1.0
    assert report.ranges["trained"] == 0
    labels = test_images[1][:300]
    assert abs(right(stock.raw, labels) - right(logits, labels)) <= 9


def test_bert_trains_and_says_what_export_can_do(images, tmp_path):
    """Whole transformers are the next step; what export gives today is verified."""
    model = models.bert()
    x = models.rows_as_tokens(images[0][:256])
    model.fit(
        x,
        images[1][:256],
        epochs=2,
        batch_size=32,
        verbose=0,
        callbacks=[PruneThenQuantize()],
    )
    path = tmp_path / "bert.tflite"
    report = qsparse.export(
        model, path, representative_data={k: v[:64] for k, v in x.items()}
    )
    assert report.int8_share == 1.0
    assert report.parity.max_lsb <= 4
