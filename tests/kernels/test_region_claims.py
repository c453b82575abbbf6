"""Which float arithmetic is taken, and what shapes and files that change make of it."""

import json

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, load_delegate

from ..row_models import RowFile
from .graph_fuzz.writer import FLOAT32
from .region_runs import (
    assert_equal,
    assert_equal_with_both,
    changed,
    floats,
    steps,
    transformer_rows,
)
from .runner import LIBRARY
from .test_corrupted_models import crashes
from .test_resize import both, plan, results


def refusals():
    file = RowFile()
    x, y, z = file.floats((2, 3, 8)), file.floats((2, 1, 8)), file.floats((2, 1, 1))
    yield file, [x, y], file.add(x, y), "shapes do not match row by row"
    file = RowFile()
    x, z = file.floats((1, 3, 8)), file.floats((2, 1, 1))
    yield file, [x, z], file.add(x, z), "shapes do not match row by row"
    for activation in (1, 2, 3):
        for name in ("ADD", "SUB", "MUL"):
            file = RowFile()
            x = file.floats((2, 8))
            made = file.binary(name, x, x, fusedActivationFunction=activation)
            yield file, [x], made, "fused activation not supported"
    for axis in (0, 1, -2):
        file = RowFile()
        x = file.floats((2, 3, 8))
        yield file, [x], file.total(x, axis), "not along a row"
    file = RowFile()
    x = file.floats((2, 3, 8))
    yield file, [x], file.total(x, keep_dims=False), "drops an axis"
    for name in ("MUL", "SUB"):
        file = RowFile()
        x = file.tensor((2, 8), 0.05, 3)
        made = file.binary(name, x, x, kind=schema.TensorType.INT8)
        yield file, [x], made, "int8 arithmetic not supported"
    for method in (RowFile.reciprocal_root, RowFile.quantize):
        file = RowFile()
        x = file.floats((1, 1, 1, 1, 2, 3, 8))
        yield file, [x], method(file, x), "rank not supported"
    file = RowFile()
    x = file.floats((1, 2**16 + 1))
    yield file, [x], file.negate(x), "long rows"
    file = RowFile()
    data = np.arange(8, dtype=np.float16)
    x = file.tensor((8,), None, kind=schema.TensorType.FLOAT16, data=data)
    yield file, [], file.dequantize(x), "of another type"
    file = RowFile()
    x = file.tensor((2, 8), 0.05, 3, data=steps(2, 8))
    yield file, [], file.dequantize(x), "an input is constant"
    file = RowFile()
    x = file.tensor((8, 2), np.full(8, 0.05), 0)
    yield file, [x], file.dequantize(x), "not quantized per tensor"
    file = RowFile()
    x = file.tensor((2, 8), 0.05, 3)
    output = file.tensor((2, 8), 0.07, -5)
    file.operator("QUANTIZE", [x], output, "QuantizeOptions")
    yield file, [x], output, "of another type"


@pytest.mark.parametrize(
    "case", list(refusals()), ids=lambda case: case[3].replace(" ", "_")
)
def test_what_is_left_alone(case):
    file, inputs, output, reason = case
    content = file.content(inputs, [output])
    (decision,) = plan(content)
    assert not decision["claimed"]
    assert decision["reason"] == reason
    arrays = [
        floats(*file.shape(x))
        if file.graph.tensors[x].type == FLOAT32
        else steps(*file.shape(x))
        for x in inputs
    ]
    plain, ours = both(content)
    try:
        expected = results(plain, arrays)
    except RuntimeError:
        return  # nor does the runtime take it
    assert_equal(results(ours, arrays), expected)


def test_regions_can_be_left_to_xnnpack():
    content, _ = transformer_rows((2, 7, 33))
    assert {d["reason"] for d in plan(content, regions="0")} == {"option regions"}


def test_batches_may_change():
    content, _ = transformer_rows((2, 7, 33), leaves=True)
    plain, ours = both(content, 2)
    for shape in ((5, 7, 33), (1, 1, 33), (40, 3, 33), (2, 7, 33)):
        arrays = steps(*shape), floats(*shape)
        assert_equal(results(ours, arrays), results(plain, arrays))


@pytest.mark.parametrize("leaves", [True, False])
@pytest.mark.parametrize("batches", [(3, 1), (1, 3)])
def test_one_operand_may_get_another_batch(batches, leaves):
    """Plain LiteRT broadcasts the other."""
    content, _ = transformer_rows((1, 16, 33), leaves=leaves)
    arrays = steps(batches[0], 16, 33), floats(batches[1], 16, 33)
    assert_equal_with_both(content, arrays)


@pytest.mark.parametrize("shapes", [((2, 3, 8), (2, 1, 8)), ((2, 1, 1), (2, 3, 8))])
def test_an_operand_may_be_repeated_in_the_middle_later(shapes):
    """Made inside of the region, or outside; what follows has all of its rows."""
    file = RowFile()
    x, y = file.floats((2, 3, 8)), file.floats((2, 3, 8))
    negated = file.negate(y)
    sums = [file.add(x, y), file.add(negated, x)]
    made = file.multiply(*sums)
    content = file.content([x, y], [made, sums[1], negated, file.total(made)])
    assert_equal_with_both(content, [floats(*shape) for shape in shapes])


def test_corrupted_files(tmp_path):
    content, _ = transformer_rows((7, 8))
    assert crashes(dict(list(changed(content))[::2]), tmp_path) == []


def test_the_axes_of_an_int8_sum_are_no_weights(tmp_path):
    """With constant int8 axes it looks like a layer, whose options are longer."""
    file = RowFile()
    x = file.tensor((2, 8), 0.05, 3)
    axes = file.tensor((4, 8), 0.05, data=steps(4, 8))
    output = file.tensor((2, 4), 0.05, 3)
    file.operator("SUM", [x, axes], output, "ReducerOptions", keepDims=True)
    path = tmp_path / "plan.json"
    delegate = load_delegate(LIBRARY, {"min_gain": "0", "plan": str(path)})
    Interpreter(
        model_content=file.content([x], [output]), experimental_delegates=[delegate]
    )
    (decision,) = json.loads(path.read_text())
    assert decision["reason"] == "int8 arithmetic not supported"
