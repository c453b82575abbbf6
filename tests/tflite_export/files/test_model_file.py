"""Files: reading, editing, refusing damaged ones."""

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

import qsparse
from qsparse.tflite_export.files.cut_out import cut_out
from qsparse.tflite_export.files.model_file import ModelFile
from tests.tflite_export import models


@pytest.fixture(scope="module")
def contents(images, tmp_path_factory):
    data = images[0][:8]
    path = tmp_path_factory.mktemp("file") / "m.tflite"
    qsparse.export(models.build(models.sequential_cnn, data), path, data)
    return path.read_bytes()


def outputs(contents, value=3):
    interpreter = Interpreter(model_content=contents)
    interpreter.allocate_tensors()
    (entry,) = interpreter.get_input_details()
    rng = np.random.default_rng(value)
    image = rng.integers(-128, 128, entry["shape"]).astype(np.int8)
    interpreter.set_tensor(entry["index"], image)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def test_ops_of_a_cnn(contents):
    file = ModelFile(contents)
    first = file.ops[0]
    assert first.name == "CONV_2D" and first.is_int8
    assert first.weights.shape == (16, 3, 3, 1)
    assert first.weights.data.dtype == np.int8
    assert first.weights.scales.shape == (16,)
    assert first.macs == 14 * 14 * 16 * 9
    depthwise = next(op for op in file.ops if op.name == "DEPTHWISE_CONV_2D")
    assert depthwise.macs == 7 * 7 * 16 * 9
    assert file.ops[-1].macs == 32 * 10


def test_rewriting_keeps_a_file_and_aligns_it(contents):
    again = ModelFile(contents).to_bytes()
    np.testing.assert_array_equal(outputs(contents), outputs(again))
    file = ModelFile(again)
    aligned = [
        again.find(op.weights.data.tobytes()) % 16
        for op in file.ops
        if op.weights is not None
    ]
    assert aligned == [0] * len(aligned)


def test_metadata_is_added_replaced_and_ignored_by_litert(contents):
    file = ModelFile(contents)
    layers = [{"path": "ü", "tensor": None}]
    file.set_metadata({"version": 7, "layers": layers})
    file.set_metadata({"version": 8, "layers": layers})
    again = file.to_bytes()
    assert ModelFile(again).metadata() == {"version": 8, "layers": layers}
    assert sum(e.name == b"qsparse" for e in ModelFile(again).model.metadata) == 1
    np.testing.assert_array_equal(outputs(contents), outputs(again))


@pytest.mark.parametrize("value", [[1], 3, {}, {"layers": "x"}, {"layers": [{}]}])
def test_damaged_metadata_is_a_clear_error(contents, value):
    file = ModelFile(contents)
    file.set_metadata(value)
    with pytest.raises(ValueError, match="'qsparse' entry of .* is damaged"):
        ModelFile(file.to_bytes()).metadata()


def test_exported_metadata_counts_the_ranges(contents):
    metadata = ModelFile(contents).metadata()
    assert metadata["version"] == 2
    assert metadata["layers"] == []
    assert metadata["ranges"]["calibrated"] > 0


def test_every_truncation_is_a_clear_error(contents, tmp_path):
    path = tmp_path / "cut.tflite"
    for size in [0, 3, 8, 15, *range(16, len(contents) - 64, len(contents) // 40)]:
        path.write_bytes(contents[:size])
        with pytest.raises(ValueError, match="cut.tflite is "):
            ModelFile(path)


def test_garbage_is_a_clear_error(contents, tmp_path):
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="without the identifier"):
        ModelFile(rng.bytes(4000))
    for seed in range(30):
        rng = np.random.default_rng(seed)
        damaged = bytearray(contents)
        for position in rng.integers(8, len(contents), 200):
            damaged[position] = rng.integers(256)
        try:
            ModelFile(bytes(damaged))
        except ValueError as error:
            assert "damaged or truncated" in str(error)


@pytest.mark.filterwarnings("ignore:.*preserve_all_tensors")
def test_an_op_cut_out_computes_what_it_did(contents):
    file = ModelFile(contents)
    interpreter = Interpreter(
        model_content=contents, experimental_preserve_all_tensors=True
    )
    interpreter.allocate_tensors()
    (entry,) = interpreter.get_input_details()
    rng = np.random.default_rng(0)
    interpreter.set_tensor(
        entry["index"], rng.integers(-128, 128, entry["shape"]).astype(np.int8)
    )
    interpreter.invoke()
    for op in file.ops:
        if op.weights is None:
            continue
        alone = Interpreter(model_content=cut_out(file, [op]))
        alone.allocate_tensors()
        alone.set_tensor(
            alone.get_input_details()[0]["index"],
            interpreter.get_tensor(op.inputs[0].index),
        )
        alone.invoke()
        np.testing.assert_array_equal(
            alone.get_tensor(alone.get_output_details()[0]["index"]),
            interpreter.get_tensor(op.outputs[0].index),
        )
