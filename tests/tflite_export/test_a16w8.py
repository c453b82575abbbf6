"""Files with int16 activations and int8 weights hold what was trained."""

import json
import warnings

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter as Stock

import qsparse
from qsparse import Recipe, Rule
from qsparse.callbacks import PruneThenQuantize
from qsparse.engine.compressor import compressed_layers
from qsparse.methods.formats import Int16x8
from qsparse.recipes.evaluate import predict
from qsparse.tflite_export.files.model_file import ModelFile
from qsparse.tflite_export.runtime.interpreter import Interpreter
from qsparse.tflite_export.verify import verify_file
from tests.conftest import small_cnn


def trained(images, **settings):
    keras.utils.set_random_seed(0)
    model = small_cnn()
    x, y = images[0][:512], images[1][:512]
    callback = PruneThenQuantize("4x4", 0.5, **settings)
    model.fit(x, y, epochs=2, batch_size=64, verbose=0, callbacks=[callback])
    return model


@pytest.fixture(scope="module")
def model(images):
    return trained(images, format="a16w8")


@pytest.mark.parametrize("low, high", [(0.0, 1.0), (-0.7, 2.3), (-4.0, 0.5)])
def test_activations_are_rounded_to_65535_levels_around_zero(images, low, high):
    values = ((images[0][:8] - 0.3) * 4.0).astype(np.float32)
    end = max(-low, high)
    steps = np.clip(values.astype(np.float64), -end, end) / (end / 32767)
    got = np.asarray(Int16x8().fake_activations(values, low, high), np.float64)
    whole = got / (end / 32767)
    np.testing.assert_allclose(whole, np.rint(whole), atol=0.01)
    assert np.abs(whole - steps).max() < 0.52
    assert np.asarray(Int16x8().fake_activations(np.zeros(1, "f"), low, high)) == 0.0


def test_the_format_goes_through_json():
    recipe = Recipe(format="a16w8", rules=[Rule("head", format="a16w8")])
    again = Recipe.from_dict(json.loads(json.dumps(recipe.to_dict())))
    assert again == recipe and again.format == Int16x8() and str(Int16x8()) == "a16w8"


def test_a_file_has_the_trained_scales_and_zeros(model, images, tmp_path):
    path = tmp_path / "m.tflite"
    report = qsparse.export(model, path, images[0][:64])
    file = ModelFile(path)
    assert report.precision == "a16w8" and report.inference_type == "int16"
    ends = [
        float(np.abs(limits).max()) / 32767
        for layer in compressed_layers(model)
        for limits in layer.input_quantizer.ranges.numpy()
    ]
    scales = [t.scales[0] for op in file.ops for t in op.inputs if t.dtype == np.int16]
    for end in ends:
        assert np.isclose(scales, end, rtol=1e-5).any()
    tensors = {tensor.name: tensor for tensor in file.tensors}
    masked = 0
    for match in report.layers:
        layer = {c.path_in_model: c for c in compressed_layers(model)}[match.path]
        stored, mask = tensors[match.tensor], layer.mask()
        assert stored.dtype == np.int8
        if mask is not None:
            assert not stored.data.reshape(mask.shape)[~mask].any()
            masked += int((~mask).sum())
    assert masked
    assert verify_file(model, path, images[0][:32]).failures == []


def test_a_file_is_closer_to_its_model_than_an_int8_file(model, images, tmp_path):
    wide = qsparse.export(model, tmp_path / "16.tflite", images[0][:64])
    narrow = qsparse.export(trained(images), tmp_path / "8.tflite", images[0][:64])
    assert wide.fidelity[0].sqnr > narrow.fidelity[0].sqnr + 10


def test_our_delegate_leaves_it_alone(model, images, tmp_path):
    path = tmp_path / "m.tflite"
    qsparse.export(model, path, images[0][:64])
    results = []
    for interpreter in (Stock(str(path)), Interpreter(path, min_gain=0)):
        interpreter.allocate_tensors()
        entry = interpreter.get_input_details()[0]
        steps = np.rint(images[0][:1] / entry["quantization"][0])
        interpreter.set_tensor(entry["index"], steps.astype(np.int16))
        interpreter.invoke()
        out = interpreter.get_output_details()[0]["index"]
        results.append(interpreter.get_tensor(out))
    np.testing.assert_array_equal(*results)


@pytest.mark.filterwarnings("ignore:The recipe has not begun")
@pytest.mark.parametrize("which", [{"role": "last"}, {"kind": "Add"}], ids=str)
@pytest.mark.parametrize("formats", [("a16w8", "int8"), ("int8", "a16w8")])
def test_a_mixture_is_refused_by_name(formats, which, images, tmp_path):
    """Also where the layer that differs has no weights."""
    most, one = formats
    mixed = small_cnn()
    recipe = Recipe(None, format=most, rules=[Rule(**which, format=one)])
    qsparse.attach(mixed, recipe)
    with pytest.raises(ValueError, match="trains in a16w8 and layer .* int8"):
        qsparse.export(mixed, tmp_path / "m.tflite", images[0][:64])


def test_recipes_run_such_a_file_on_images(model, images, test_images, tmp_path):
    qsparse.export(model, tmp_path / "m.tflite", images[0][:64])
    x, y = test_images[0][:200], test_images[1][:200]
    found = predict(Interpreter(tmp_path / "m.tflite"), x)
    logits = model.predict(x, verbose=0)
    assert found.raw.dtype == np.int16
    assert found.accuracy(y) == pytest.approx((logits.argmax(axis=1) == y).mean(), 0.02)
    assert found.max_lsb(logits) < 0.01 * 32767


@pytest.mark.parametrize(("factor", "warned"), [(0.4, False), (0.1, True)])
def test_data_are_judged_by_the_side_that_training_saw(
    factor, warned, model, images, tmp_path
):
    """Images are not negative, though their range reaches as far below zero."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        qsparse.export(model, tmp_path / "m.tflite", factor * images[0][:64])
    said = [
        str(each.message) for each in caught if "Scale the data" in str(each.message)
    ]
    assert len(said) == warned
    assert all("it was up to 1 from zero" in text for text in said)
