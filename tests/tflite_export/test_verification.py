"""A file that is its model's passes; whatever is wrong with it is found and named."""

import base64
import functools
import json
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser

import keras
import numpy as np
import pytest
from keras import layers

import qsparse
from qsparse.callbacks import PruneThenQuantize
from qsparse.compressor import compressed_layers
from qsparse.tflite_export import cli, verify_file
from qsparse.tflite_export.flatbuffer import ModelFile
from qsparse.tflite_export.html_report import to_html
from qsparse.tflite_export.tensor_parity import (
    Difference,
    TensorParity,
    first_growth,
)
from tests import models as five_kinds
from tests.conftest import compiled, small_cnn
from tests.tflite_export import models


@pytest.fixture(scope="module")
def folder(images, test_images, tmp_path_factory):
    """Return a folder with a CNN and a transformer: .keras, .tflite, data."""
    folder = tmp_path_factory.mktemp("verify")
    keras.utils.clear_session()  # tests below go by the names that layers get
    x, y = images[0][:512], images[1][:512]
    keras.utils.set_random_seed(7)
    for name, model in (
        ("cnn", small_cnn()),
        ("transformer", compiled(models.build(models.transformer, x[:1]))),
    ):
        model.fit(x, y, epochs=2, verbose=0, callbacks=[PruneThenQuantize()])
        model.save(folder / f"{name}.keras")
        report = qsparse.export(model, folder / f"{name}.tflite", x[:32])
        (folder / f"{name}.lsb").write_text(str(report.parity.max_lsb))
    np.savez(folder / "train.npz", x=x[:32])
    np.savez(folder / "test.npz", x=test_images[0][:24], y=test_images[1][:24])
    return folder


@functools.cache
def loaded(path):
    return qsparse.load_model(path)


def verified(folder, name, path=None, data="test.npz", **arguments):
    archive = np.load(folder / data)
    return verify_file(
        loaded(folder / f"{name}.keras"),
        path or folder / f"{name}.tflite",
        archive["x"],
        archive.get("y"),
        **arguments,
    )


def exported_lsb(folder, name):
    """Return what the export itself measured at the output, on the same samples."""
    return round(float((folder / f"{name}.lsb").read_text()))


def damaged(folder, name, edit, tmp_path):
    """Copy a file and let `edit(file)` change constants in it."""
    file = ModelFile(folder / f"{name}.tflite")
    edit(file)
    path = tmp_path / "damaged.tflite"
    path.write_bytes(file.to_bytes())
    return path


def op_of(file, layer):
    """Return the op that computes a compressed layer, and its weights."""
    entry = next(e for e in file.metadata()["layers"] if e["path"] == layer)
    return next(
        (op, op.weights)
        for op in file.ops
        if op.weights is not None and op.weights.name == entry["tensor"]
    )


def test_what_training_made_is_what_the_file_computes(folder):
    found = verified(folder, "cnn", data="train.npz")
    assert found.failures == [] and found.inexact == []
    assert found.tensors[-1].accumulated.max_lsb == exported_lsb(folder, "cnn")
    assert found.greatest_lsb <= 4
    assert all(t.accumulated.mean_lsb < 0.1 for t in found.tensors)
    assert [t.layer for t in found.tensors] == [
        *("", "conv2d", "conv2d_1", "re_lu_1", "depthwise_conv2d", "conv2d_2"),
        *("global_average_pooling2d", "dense"),
    ]
    by_layer = {t.layer: t for t in found.tensors}
    assert by_layer["conv2d_1"].fused == ("batch_normalization_1",)
    assert {t.source for t in found.tensors} == {"trained", "calibrated"}
    inputs = [by_layer["conv2d"].tensor, by_layer["conv2d_1"].tensor]
    assert sorted(by_layer["re_lu_1"].inputs) == sorted(inputs)
    assert {row.layer: row.masked for row in found.weights}["conv2d_1"] == 2304 * 3 // 4
    assert all(row.lost_zeros == row.changed == 0 for row in found.weights)


def test_transformer_ops_are_within_one_step_of_the_model(folder):
    found = verified(folder, "transformer", data="train.npz")
    assert found.inexact == [] and found.failures == [] and found.samples == 32
    assert found.tensors[-1].accumulated.max_lsb == exported_lsb(folder, "transformer")
    assert all(t.accumulated.mean_lsb < 0.5 for t in found.tensors)
    named = {t.layer for t in found.tensors}
    assert {"multi_head_attention/query", "layer_normalization_1"} <= named
    assert found.work.int8 == 1.0
    # Everything but the two products of activations.
    products = 2 * 28 * 28 * 32
    assert found.work.claimable == pytest.approx(1 - products / found.work.macs)


def test_accuracy_of_all_sides(folder, test_images):
    found = verified(folder, "cnn")
    model = loaded(folder / "cnn.keras")
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
def test_a_wrong_bias_is_found_where_it_is(name, layer, folder, tmp_path):
    def shift(file):
        op, weights = op_of(file, layer)
        accumulated = op.inputs[0].scales[0] * weights.scales[3]
        op.inputs[2].data[3] += round(9 * op.outputs[0].scales[0] / accumulated)

    path = damaged(folder, name, shift, tmp_path)
    found = verified(folder, name, path)
    assert [t.layer for t in found.inexact] == [layer]
    assert found.growth.layer == layer
    assert 8 <= found.growth.local.max_lsb <= 10
    assert f"{layer}: {found.growth.op} alone is" in found.failures[0]
    assert found.greatest_lsb >= 8


@pytest.mark.parametrize(
    "name, layer", [("cnn", "conv2d_1"), ("transformer", "dense_2")]
)
def test_a_wrong_channel_is_found_where_it_is(name, layer, folder, tmp_path):
    def negate(file):
        _, weights = op_of(file, layer)
        kept = np.flatnonzero(weights.data.reshape(len(weights.data), -1).any(1))[0]
        row = weights.data[kept]
        row[...] = row // 2

    found = verified(folder, name, damaged(folder, name, negate, tmp_path))
    assert [t.layer for t in found.inexact] == [layer] == [found.growth.layer]
    changed = {row.layer: row.changed for row in found.weights if row.changed}
    assert list(changed) == [layer]
    assert f"{changed[layer]} int8 weights are not the trained ones" in str(
        found.failures
    )


def test_a_lost_zero_is_found(folder, tmp_path, capsys):
    model = loaded(folder / "cnn.keras")
    (mask,) = (c.mask() for c in compressed_layers(model) if c.path_in_model == "dense")

    def grow_back(file):
        _, weights = op_of(file, "dense")
        row, column = np.argwhere(~mask.astype(bool).reshape(weights.shape))[-1]
        weights.data[row, column] = 1

    path = damaged(folder, "cnn", grow_back, tmp_path)
    found = verified(folder, "cnn", path)
    (lost,) = [row for row in found.weights if row.lost_zeros]
    assert lost.layer == "dense" and lost.lost_zeros == lost.changed == 1
    assert "dense: 1 pruned weights are not zero in the file." in found.failures
    command = ["verify", f"{folder}/cnn.keras", str(path), "--data"]
    assert cli.main([*command, f"{folder}/test.npz"]) == 1
    assert "FAILED: dense: 1 pruned" in capsys.readouterr().out


def test_a_bound_on_the_difference(folder):
    found = verified(folder, "transformer", max_lsb=0)
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


def test_strangers_are_refused(folder, images, tmp_path):
    with pytest.raises(ValueError, match=r"cnn.tflite was not made from this model: "):
        verify_file(folder / "transformer.keras", folder / "cnn.tflite", images[0][:4])
    model = qsparse.load_model(folder / "cnn.keras")
    for variable in model.trainable_variables:
        if len(variable.shape) > 1:
            variable.assign(variable.numpy()[..., ::-1] * -0.3)
    with pytest.raises(ValueError, match=r"of 5 layers have other weights.*trained on"):
        verify_file(model, folder / "cnn.tflite", images[0][:4])

    def forget(file):
        file.set_metadata({"layers": []})

    path = damaged(folder, "cnn", forget, tmp_path)
    with pytest.raises(ValueError, match=r"does not say which .* Export the model ag"):
        verify_file(model, path, images[0][:4])
    qsparse.export(model, path, images[0][:4], dynamic_range=True)
    with pytest.raises(ValueError, match=r"has dynamic-range precision; only int8"):
        verify_file(model, path, images[0][:4])


def test_labels_that_do_not_fit(folder, images):
    for labels, message in (
        (np.zeros((8, 5)), r"labels of output 'output' have shape \(8, 5\)"),
        ({"other": np.zeros(8)}, r"no outputs \['other'\]; it has \['output'\]"),
    ):
        with pytest.raises(ValueError, match=message):
            verify_file(
                folder / "cnn.keras", folder / "cnn.tflite", images[0][:8], labels
            )


def test_command_line(folder, capfd):
    command = ["verify", f"{folder}/cnn.keras", f"{folder}/cnn.tflite"]
    command += ["--data", f"{folder}/test.npz"]
    assert cli.main(command) == 0
    shown = capfd.readouterr()
    assert "conv2d_2" in shown.out and "Every op" in shown.out and shown.err == ""
    assert cli.main([*command, "--json", "--max-lsb", "0"]) == 1
    result = json.loads(capfd.readouterr().out)
    assert len(result["tensors"]) == 8 and len(result["failures"]) == 1


@pytest.mark.parametrize(
    "change, message",
    [
        ({1: "{folder}/absent.keras"}, "no such file"),
        ({1: "{folder}/cnn.tflite"}, "must be a .keras file"),
        ({2: "{folder}/transformer.tflite"}, "was not made from this model"),
        ({2: "{folder}/test.npz"}, "is not a LiteRT model"),
        ({4: "{folder}/absent.npz"}, "no such file"),
        ({4: "{folder}/cnn.tflite"}, "is no .npz file or damaged"),
        ({4: "{tmp}/empty.npz"}, "holds no samples"),
        ({4: "{tmp}/pickle.npz"}, "is no .npz file or damaged"),
        ({4: "{tmp}/uneven.npz"}, "different numbers of samples"),
        ({4: "{tmp}/small.npz"}, r"the model takes (None, 28, 28, 1)"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    change, message, folder, tmp_path, capfd
):
    np.savez(tmp_path / "empty.npz", y=np.zeros(3))
    np.savez(tmp_path / "pickle.npz", x=np.array([{}]))
    np.savez(tmp_path / "uneven.npz", x=np.zeros((2, 28, 28, 1)), y=np.zeros(3))
    np.savez(tmp_path / "small.npz", x=np.zeros((2, 8, 8, 1)))
    command = ["verify", "{folder}/cnn.keras", "{folder}/cnn.tflite"]
    command += ["--data", "{folder}/test.npz"]
    for position, argument in change.items():
        command[position] = argument
    assert cli.main([part.format(folder=folder, tmp=tmp_path) for part in command]) == 2
    shown = capfd.readouterr()
    assert shown.out == "" and message in shown.err
    assert shown.err.startswith("qsparse: error: ") and shown.err.count("\n") == 1


def test_html_report_is_whole_and_safe(folder):
    archive = np.load(folder / "test.npz")
    model = loaded(folder / "cnn.keras")
    found = verify_file(model, folder / "cnn.tflite", archive["x"], archive["y"])
    evil = [
        replace(t, layer=f"{t.layer}<script>&\"'", op="<b>", fused=("<i>",))
        for t in found.tensors
    ]
    found = replace(
        found, tensors=evil, model="<model>", first_growth=evil[3].tensor, max_lsb=0
    )
    page = to_html(found)
    reader = Reader()
    reader.feed(page)
    assert reader.open == [] and reader.unknown == set()
    assert [f"{t.label}" in reader.text for t in evil] == [True] * len(evil)
    assert all(row.layer in reader.text for row in found.weights)
    assert "first grows at" in reader.text and "1 check failed" in reader.text
    (image,) = reader.links
    header, data = image.split(",", 1)
    assert header == "data:image/png;base64"
    assert base64.b64decode(data, validate=True).startswith(b"\x89PNG")
    assert not re.search(r"https?:|//|@import|url\(", page.replace(data, ""))


class Reader(HTMLParser):
    """Collects the text and the links of a page, and what does not belong in it."""

    TAGS = set(
        "html head title style body main header h1 h2 p section div span small b i ul "
        "li table thead tbody tr th td dl dt dd".split()
    )

    def __init__(self):
        super().__init__()
        self.open, self.links, self.unknown, self.text = [], [], set(), ""

    def handle_starttag(self, tag, attrs):
        known = {"class", "style", "title", "lang", "charset", "name", "content", "alt"}
        self.links += [value for key, value in attrs if key in ("src", "href")]
        self.unknown |= {key for key, _ in attrs} - known - {"src"}
        if tag not in ("meta", "img", "wbr"):
            self.unknown |= {tag} - self.TAGS
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_html_from_the_command_line(folder, tmp_path, capsys, monkeypatch):
    command = ["verify", f"{folder}/cnn.keras", f"{folder}/cnn.tflite"]
    command += ["--data", f"{folder}/test.npz", "--samples", "2", "--html"]
    assert cli.main([*command, f"{tmp_path}/r.html"]) == 0
    assert (tmp_path / "r.html").read_text().startswith("<!DOCTYPE html>")
    assert cli.main([*command, f"{tmp_path}/absent/r.html"]) == 2
    assert "Create it first" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert cli.main([*command, f"{tmp_path}/s.html"]) == 2
    assert "pip install 'keras-qsparse[plot]'" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["r.html"]
