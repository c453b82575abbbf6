"""Inputs and outputs of a file: the model's order, the model's names."""

import keras
import numpy as np
import pytest
from keras import layers

import qsparse
from qsparse.engine.feed import identifiers
from qsparse.tflite_export.files.model_file import ModelFile
from qsparse.tflite_export.runtime.interpreter import plain_interpreter

WIDTHS = range(1, 12)


@pytest.fixture(scope="module")
def columns(images):
    """Return a slice of images per input, of different widths."""
    flat = images[0][:64, 14, :, 0]
    return [np.ascontiguousarray(flat[:, n : 2 * n + 1]) for n in range(1, 6)]


@pytest.mark.parametrize("inference_type", ["int8", "float32"])
def test_ends_of_a_file_are_those_of_the_model(inference_type, columns, tmp_path):
    keras.utils.set_random_seed(0)
    inputs = [
        keras.Input((column.shape[1],), name=f"in{n}")
        for n, column in enumerate(columns)
    ]
    x = layers.Concatenate()(inputs[::-1])
    outputs = [layers.Dense(width, name=f"head{width}")(x) for width in WIDTHS]
    model = keras.Model(inputs, outputs)
    path = tmp_path / "m.tflite"
    qsparse.export(model, path, columns, inference_type=inference_type)
    file = ModelFile(path)
    assert [t.name for t in file.inputs] == ["in0", "in1", "in2", "in3", "in4"]
    assert [t.shape[1] for t in file.inputs] == [c.shape[1] for c in columns]
    assert [t.name for t in file.outputs] == [f"head{width}" for width in WIDTHS]
    assert [t.shape[1] for t in file.outputs] == list(WIDTHS)
    signature = file.signature()
    assert list(signature[0]) == [t.name for t in file.inputs]
    assert list(signature[1]) == [t.name for t in file.outputs]
    assert list(signature[1].values()) == [t.index for t in file.outputs]
    # By position, as most programs do it.
    interpreter = plain_interpreter(path.read_bytes())
    interpreter.allocate_tensors()
    for entry, column in zip(interpreter.get_input_details(), columns, strict=True):
        value = column[:1]
        if inference_type == "int8":
            scale, zero = entry["quantization"]
            value = np.clip(np.rint(value / scale) + zero, -128, 127).astype(np.int8)
        interpreter.set_tensor(entry["index"], value)
    interpreter.invoke()
    wanted = model.predict([column[:1] for column in columns], verbose=0)
    for entry, value in zip(interpreter.get_output_details(), wanted, strict=True):
        got = interpreter.get_tensor(entry["index"]).astype(np.float64)
        if inference_type == "int8":
            scale, zero = entry["quantization"]
            got = (got - zero) * scale
        assert np.abs(got - value).max() < 0.05 * max(np.abs(value).max(), 1)


def test_names_that_differ_in_a_sign_only_stay_apart(columns, tmp_path):
    assert identifiers(["a.b", "a_b", "a b"]) == ["a_b", "a_b_1", "a_b_2"]
    keras.utils.set_random_seed(0)
    first, second = columns[0], columns[1]
    inputs = [
        keras.Input((first.shape[1],), name="a.b"),
        keras.Input((second.shape[1],), name="a_b"),
    ]
    joined = layers.Concatenate()(inputs)
    model = keras.Model(inputs, layers.Dense(3)(joined))
    path = tmp_path / "m.tflite"
    qsparse.export(model, path, {"a.b": first, "a_b": second})
    found = {t.name: t.shape[1] for t in ModelFile(path).inputs}
    assert found == {"a_b": first.shape[1], "a_b_1": second.shape[1]}
    assert ModelFile(path).outputs[0].name == "output"
