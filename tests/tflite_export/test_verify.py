"""A file that is its model's passes; whatever is wrong with it is found and named."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import layers

import qsparse
from qsparse import cli
from qsparse.engine.compressor import compressed_layers
from qsparse.tflite_export import verify_file
from qsparse.tflite_export.parity.difference import (
    Difference,
    TensorParity,
    first_growth,
)
from tests import models as five_kinds
from tests.tflite_export import models
from tests.tflite_export.verification import (
    damaged,
    exported_lsb,
    loaded,
    op_of,
    shifted,
    verified,
)


def test_what_training_made_is_what_the_file_computes(exports):
    found = verified(exports, "cnn", data="train.npz")
    assert found.failures == [] and found.inexact == []
    assert found.tensors[-1].accumulated.max_lsb == exported_lsb(exports, "cnn")
    assert found.greatest_lsb <= 4
    assert all(t.accumulated.mean_lsb < 0.1 for t in found.tensors)
    assert [t.layer for t in found.tensors] == [
        *("", "conv2d", "conv2d_1", "re_lu_1", "depthwise_conv2d", "conv2d_2"),
        *("global_average_pooling2d", "dense"),
    ]
    by_layer = {t.layer: t for t in found.tensors}
    assert by_layer["conv2d_1"].fused == ("batch_normalization_1",)
    assert {t.source for t in found.tensors} == {"trained"}
    inputs = [by_layer["conv2d"].tensor, by_layer["conv2d_1"].tensor]
    assert sorted(by_layer["re_lu_1"].inputs) == sorted(inputs)
    assert {row.layer: row.masked for row in found.weights}["conv2d_1"] == 2304 * 3 // 4
    assert all(row.lost_zeros == row.changed == 0 for row in found.weights)


def test_transformer_ops_are_within_one_step_of_the_model(exports):
    found = verified(exports, "transformer", data="train.npz")
    assert found.inexact == [] and found.failures == [] and found.samples == 32
    # The order in which float sums are added up may flip a rounding.
    last, exported = found.tensors[-1], exported_lsb(exports, "transformer")
    assert abs(last.accumulated.max_lsb - exported) <= 1
    assert all(t.accumulated.mean_lsb < 0.5 for t in found.tensors)
    named = {t.layer for t in found.tensors}
    assert {"multi_head_attention/query", "layer_normalization_1"} <= named
    assert found.work.int8 == 1.0
    # Everything but the two products of activations.
    products = 2 * 28 * 28 * 32
    assert found.work.claimable == pytest.approx(1 - products / found.work.macs)


def test_accuracy_of_all_sides(exports, test_images):
    found = verified(exports, "cnn")
    model = loaded(exports / "cnn.keras")
    x, y = test_images[0][:24], test_images[1][:24]
    by_side = {side.side: side for side in found.sides}
    predicted = model.predict(x, verbose=0).argmax(1)
    assert by_side["keras"].accuracy == np.mean(predicted == y)
    assert by_side["keras"].max_off == 0.0 and by_side["keras"].same_class == 1.0
    assert by_side["litert"] == replace(by_side["delegate"], side="litert")
    assert by_side["litert"].accuracy == pytest.approx(
        by_side["keras"].accuracy, abs=0.1
    )
    assert found.delegate_differences == 0
    assert 0 < found.work.claimed <= found.work.claimable < 1


@pytest.mark.parametrize(
    "name, layer",
    [
        ("cnn", "conv2d_2"),
        ("transformer", "multi_head_attention/value"),
    ],
)
def test_a_wrong_bias_is_found_where_it_is(name, layer, exports, tmp_path):
    path = shifted(exports, name, layer, 9, tmp_path)
    found = verified(exports, name, path)
    assert [t.layer for t in found.inexact] == [layer]
    assert found.growth.layer == layer
    assert 8 <= found.growth.local.max_lsb <= 10
    assert f"{layer}: {found.growth.op} alone is" in found.failures[0]
    assert found.greatest_lsb >= 8


@pytest.mark.parametrize(
    "name, layer", [("cnn", "conv2d_1"), ("transformer", "dense_2")]
)
def test_a_wrong_channel_is_found_where_it_is(name, layer, exports, tmp_path):
    def negate(file):
        _, weights = op_of(file, layer)
        kept = np.flatnonzero(weights.data.reshape(len(weights.data), -1).any(1))[0]
        row = weights.data[kept]
        row[...] = row // 2

    found = verified(exports, name, damaged(exports, name, negate, tmp_path))
    assert [t.layer for t in found.inexact] == [layer] == [found.growth.layer]
    changed = {row.layer: row.changed for row in found.weights if row.changed}
    assert list(changed) == [layer]
    assert f"{changed[layer]} int8 weights are not the trained ones" in str(
        found.failures
    )


def test_a_lost_zero_is_found(exports, tmp_path, capsys):
    model = loaded(exports / "cnn.keras")
    (mask,) = (c.mask() for c in compressed_layers(model) if c.path_in_model == "dense")

    def grow_back(file):
        _, weights = op_of(file, "dense")
        row, column = np.argwhere(~mask.astype(bool).reshape(weights.shape))[-1]
        weights.data[row, column] = 1

    path = damaged(exports, "cnn", grow_back, tmp_path)
    found = verified(exports, "cnn", path)
    (lost,) = [row for row in found.weights if row.lost_zeros]
    assert lost.layer == "dense" and lost.lost_zeros == lost.changed == 1
    assert "dense: 1 pruned weights are not zero in the file." in found.failures
    command = ["verify", f"{exports}/cnn.keras", str(path), "--data"]
    assert cli.main([*command, f"{exports}/test.npz"]) == 1
    assert "FAILED: dense: 1 pruned" in capsys.readouterr().out


def test_a_bound_on_the_difference(exports, tmp_path):
    path = shifted(exports, "cnn", "conv2d_2", 1, tmp_path)
    found = verified(exports, "cnn", path, max_lsb=0)
    assert len(found.failures) == 1 and "LSB off, more than the 0" in found.failures[0]
    at_most = found.greatest_lsb
    assert replace(found, max_lsb=at_most).failures == []
    assert len(replace(found, max_lsb=at_most - 0.5).failures) == 1


def entry(name, inputs, accumulated, local=1):
    return TensorParity(
        *(name, "ADD", name, (), inputs, 1.0, "trained"),
        *(Difference(accumulated, 0.0, 0.0), Difference(local, 0.0, 0.0)),
    )


@pytest.mark.parametrize(
    "tensors, name",
    [
        ([entry("a", (), 1), entry("b", ("a",), 2), entry("c", ("b",), 3)], None),
        ([entry("a", (), 2), entry("b", ("a",), 2)], "a"),
        ([entry("a", (), 1), entry("b", ("a",), 3), entry("c", ("b",), 9)], "b"),
        # Compared with the worst of the inputs, wherever they stand.
        ([entry("a", (), 1), entry("b", (), 0), entry("c", ("b", "a"), 2)], None),
        # An op that is off itself goes before one that only stretches.
        ([entry("a", (), 4), entry("b", ("a",), 4, local=2)], "b"),
    ],
)
def test_where_the_difference_first_grows(tensors, name):
    found = first_growth(tensors)
    assert (found and found.tensor) == name


def test_models_that_are_not_compressed(images, tmp_path):
    """Ranges and weights are those of the file; several outputs, a shared layer."""
    x = images[0][:8]
    model = models.build(models.Subclassed, x)
    qsparse.export(model, tmp_path / "m.tflite", x, inference_type="float32")
    labels = {"classes": images[1][:8] % 4, "features": model(x)["features"].numpy()}
    found = verify_file(model, tmp_path / "m.tflite", x, labels)
    assert found.failures == [] and found.inexact == []
    assert len(found.weights) >= 5 and not any(row.changed for row in found.weights)
    sides = {(s.side, s.output): s for s in found.sides}
    assert sides["keras", "classes"].accuracy is not None
    assert sides["keras", "features"].max_error < 1e-6
    quantized = sides["litert", "features"]
    assert quantized.max_error == pytest.approx(quantized.max_off, rel=1e-3)


def test_layers_may_be_named_anew_when_loaded(images, tmp_path):
    x = images[0][:8]
    model = five_kinds.subclassed()
    model(x)
    models.randomized(model)
    model.save(tmp_path / "m.keras")
    qsparse.export(model, tmp_path / "m.tflite", x)
    found = verify_file(tmp_path / "m.keras", tmp_path / "m.tflite", x)
    assert found.failures == [] and found.inexact == []
    assert len(found.weights) == 3 and all(row.changed == 0 for row in found.weights)
    old = {layer.name for layer in model.layers}
    new = {entry.layer for entry in found.tensors} - {""}
    assert len(new) == 5 and new != old


def test_transposed_tensors_of_one_shape_are_told_apart(images, tmp_path):
    inputs = keras.Input((28, 28, 1))
    x = layers.Reshape((4, 196))(inputs)
    x = layers.MultiHeadAttention(4, 8)(x, x)  # 4 heads, 4 positions
    model = keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x)))
    qsparse.export(model, tmp_path / "m.tflite", images[0][:8], batch_size=2)
    found = verify_file(model, tmp_path / "m.tflite", images[0][:8])
    assert found.inexact == [] and found.greatest_lsb <= 3 and found.samples == 8


def test_strangers_are_refused(exports, images, tmp_path):
    with pytest.raises(ValueError, match=r"cnn.tflite was not made from this model: "):
        verify_file(
            exports / "transformer.keras", exports / "cnn.tflite", images[0][:4]
        )
    model = qsparse.load_model(exports / "cnn.keras")
    for variable in model.trainable_variables:
        if len(variable.shape) > 1:
            variable.assign(variable.numpy()[..., ::-1] * -0.3)
    with pytest.raises(ValueError, match=r"of 5 layers have other weights.*trained on"):
        verify_file(model, exports / "cnn.tflite", images[0][:4])

    def forget(file):
        file.set_metadata({"layers": []})

    path = damaged(exports, "cnn", forget, tmp_path)
    with pytest.raises(ValueError, match=r"does not say which .* Export the model ag"):
        verify_file(model, path, images[0][:4])
    qsparse.export(model, path, images[0][:4], dynamic_range=True)
    with pytest.raises(ValueError, match=r"has dynamic-range precision; only int8"):
        verify_file(model, path, images[0][:4])


def test_labels_that_do_not_fit(exports, images):
    for labels, message in (
        (np.zeros((8, 5)), r"labels of output 'output' have shape \(8, 5\)"),
        ({"other": np.zeros(8)}, r"no outputs \['other'\]; it has \['output'\]"),
    ):
        with pytest.raises(ValueError, match=message):
            verify_file(
                exports / "cnn.keras", exports / "cnn.tflite", images[0][:8], labels
            )
