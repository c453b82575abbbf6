"""Float arithmetic on rows gives stock LiteRT's results to the last bit."""

import json

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, load_delegate

from ..row_models import BINARY, RowFile
from .graph_fuzz.writer import FLOAT32, pack, read
from .runner import LIBRARY
from .test_corrupted_models import crashes
from .test_resize import again, both, claims, plan, results

RNG = np.random.default_rng(0)
# What rounds, overflows, is no number or is too small to be normal.
SPECIAL = np.array(
    [0, -0.0, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 1e-40, 1e-38, 1.2e-38, 1.7e38]
    + [3.4e38, -3.4e38, -1, 1, 2, 1e10, -1e10, 32767, 1e5, -1e5, 2.0**31, -(2.0**31)]
    + [2.0**40, 0.015, 0.045, -0.015, 0.5, 1.5, 2.5, -0.5, -1.5, 126.5, -128.5],
    np.float32,
)


def steps(*shape):
    return RNG.integers(-128, 128, shape, dtype=np.int8)


def floats(*shape):
    return np.asarray(RNG.normal(size=shape), np.float32)


def assert_equal(actual, expected):
    """Equal bits: also of zeros, and of what is no number."""
    for a, e in zip(actual, expected, strict=True):
        assert (a.dtype, a.shape) == (e.dtype, e.shape)
        np.testing.assert_array_equal(a, e)
        assert a.tobytes() == e.tobytes()


def assert_same(content, arrays, least=9, **options):
    """Nothing differs, and the delegate takes every node."""
    assert all(claims(content))
    for threads in (1, 2):
        plain, ours = both(content, threads, **options)
        expected = results(plain, arrays)
        assert max(np.unique(e).size for e in expected) >= least
        assert_equal(results(ours, arrays), expected)
        assert_equal(again(ours, arrays), expected)  # buffers are used again


def assert_equal_with_both(content, arrays):
    """Nothing differs, whatever the delegate takes."""
    plain, ours = both(content)
    assert_equal(results(ours, arrays), results(plain, arrays))


def groups(content):
    return {decision["group"] for decision in plan(content)}


def transformer_rows(shape, leaves=False, beta=True):
    """From an int8 layer through a residual and a LayerNorm to the next one."""
    file, columns = RowFile(), shape[-1]
    x, residual = file.tensor(shape, 0.03, -5), file.floats(shape)
    scaled = file.multiply(file.dequantize(x), file.row(RNG.uniform(0.5, 2, columns)))
    total = file.add(scaled, residual)
    gamma, shift = RNG.uniform(0.5, 2, columns), RNG.normal(size=columns)
    normal = file.layer_norm(total, gamma, shift if beta else None)
    outputs = [file.quantize(normal), *([total, normal] if leaves else [])]
    return file.content([x, residual], outputs), [steps(*shape), floats(*shape)]


COLUMNS = [1, 3, 8, 15, 16, 17, 31, 32, 33, 47, 64, 384, 768]


@pytest.mark.parametrize("columns", COLUMNS)
@pytest.mark.parametrize("leaves", [False, True])
@pytest.mark.parametrize("beta", [False, True])
def test_layer_norm(columns, leaves, beta):
    content, arrays = transformer_rows((2, 7, columns), leaves, beta)
    assert len(groups(content)) == 1
    assert_same(content, arrays, least=9 if columns > 1 or leaves else 1)


@pytest.mark.parametrize("shape", [(1, 33), (7, 33), (128, 33), (3, 1, 33), (5, 7, 33)])
def test_rows_and_batches(shape):
    assert_same(*transformer_rows(shape, leaves=True))


@pytest.mark.parametrize("columns", COLUMNS)
def test_rms_norm(columns):
    """The sum of squares is XNNPACK's, as is what it reads; the rest is a region."""
    file = RowFile()
    x = file.tensor((7, columns), 0.03, -5)
    normal = file.rms_norm(file.dequantize(x), RNG.uniform(0.5, 2, columns))
    content = file.content([x], [normal, file.quantize(normal, zero_point=-128)])
    assert_equal_with_both(content, [steps(7, columns)])
    assert claims(content).count(False) == 2


def sums_of_squares():
    """All that XNNPACK makes one operator with fused multiply-add."""
    for axis, keep_dims in ((-1, True), (-1, False), (0, True)):
        file = RowFile()
        x = file.floats((100, 384))
        yield file, x, file.total(file.multiply(x, x), axis, keep_dims)
    for centre in (RowFile.negate, lambda f, x: f.subtract(x, f.mean(x))):
        file = RowFile()
        x = file.floats((100, 384))
        y = centre(file, x)
        yield file, x, file.mean(file.multiply(y, y))
    file = RowFile()
    x = file.floats((100, 384))
    square = file.operator("SQUARE", [x], file.floats((100, 384)))
    yield file, x, file.total(square)
    file = RowFile()
    x = file.floats((100, 384))
    inputs = [file.multiply(x, x), file.constant([-1])]
    mean = file.floats((100, 1))
    file.operator("MEAN", inputs, mean, "ReducerOptions", keepDims=True)
    yield file, x, mean


@pytest.mark.parametrize("case", list(sums_of_squares()))
def test_sums_of_squares_stay_with_xnnpack(case):
    file, x, output = case
    assert_equal_with_both(file.content([x], [output]), [floats(100, 384)])


@pytest.mark.parametrize("columns", sorted({*range(1, 36), *COLUMNS, 1000}))
def test_sums_add_in_the_same_order(columns):
    """Single sums, and sums of squares, of values of very different size."""
    file = RowFile()
    x = file.floats((9, columns))
    squares = file.total(file.squared_difference(x, file.row(0.3)))
    content = file.content([x], [file.total(x), squares])
    values = floats(9, columns) * np.exp2(RNG.integers(-20, 20, (9, columns)))
    assert_same(content, [values.astype(np.float32)])


def test_special_values_in_a_sum():
    file = RowFile()
    x = file.floats((64, 37))
    values = RNG.choice(SPECIAL, (64, 37), p=np.full(34, 1 / 34))
    values[::2] = floats(32, 37) * 1e-38
    assert_same(file.content([x], [file.total(x)]), [values])


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((2, 16, 33), (2, 16, 33)),
        ((2, 16, 33), (33,)),
        ((2, 16, 33), ()),
        ((2, 16, 33), (1, 1, 1)),
        ((2, 16, 33), (2, 16, 1)),
        ((2, 16, 33), (16, 1)),
        ((2, 16, 33), (1, 16, 33)),
        ((2, 16, 33), (1, 16, 1)),
        ((2, 16, 33), (16, 33)),
        ((2, 16, 1), (1, 16, 33)),
        ((2, 16, 1), (33,)),
        ((4, 1), (1,)),
        ((40,), (40,)),
        ((1, 1), ()),
        ((), ()),
    ],
)
def test_operands_of_all_forms(name, left, right):
    """Either side first, as an input and as a constant."""
    file = RowFile()
    x, y = file.floats(left), file.floats(right)
    constant = file.row(floats(*right))
    pairs = (x, y), (y, x), (x, constant), (constant, x)
    content = file.content([x, y], [file.binary(name, *pair) for pair in pairs])
    arrays = [floats(*left), floats(*right)]
    assert_same(content, arrays, least=min(np.size(arrays[0]), 9))


@pytest.mark.parametrize("name", BINARY)
def test_special_operands(name):
    file = RowFile()
    x, y = file.floats((34, 34)), file.floats((34, 1))
    square = np.tile(SPECIAL, (34, 1))
    outputs = [file.binary(name, x, y), file.binary(name, y, x), file.negate(x)]
    assert_same(file.content([x, y], outputs), [square, SPECIAL[:, None]])


def test_roots():
    """Of every size, of what has none, and of what is too small or too large."""
    file = RowFile()
    x = file.floats((3, 4111))
    values = np.ldexp(RNG.uniform(1, 2, (3, 4111)), RNG.integers(-150, 128, (3, 4111)))
    values[:, :34], values[1, 34:99] = SPECIAL, -values[1, 34:99]
    content = file.content([x], [file.reciprocal_root(x)])
    assert_same(content, [values.astype(np.float32)])


@pytest.mark.parametrize("zero_point", [-128, -1, 0, 127])
@pytest.mark.parametrize("scale", [0.03, 1.0, 1e-30, 1e30, 1.2e-38, 1.7e38, 3.4e38])
def test_quantizing_anything(scale, zero_point):
    file = RowFile()
    x = file.floats((2, 134))
    with np.errstate(over="ignore"):
        halves = RNG.integers(-300, 300, 100).astype(np.float32) * np.float32(scale / 2)
    values = np.concatenate([SPECIAL, halves])
    values = np.stack([values, values[::-1]])
    content = file.content([x], [file.quantize(x, scale, zero_point)])
    assert_same(content, [values], least=3 if scale < 1e38 else 1)


@pytest.mark.parametrize("zero_point", [-128, -1, 0, 127])
@pytest.mark.parametrize("scale", [0.03, 1.2e-38, 3e37])
def test_dequantizing_every_value(scale, zero_point):
    file = RowFile()
    x = file.tensor((3, 256), scale, zero_point)
    y = file.dequantize(x)
    content = file.content([x], [y, file.quantize(y, 3 * scale, -zero_point - 1)])
    assert_same(content, [np.tile(np.arange(-128, 128, dtype=np.int8), (3, 1))])


def read_again(file, x):
    """Values, products and scaled sums whose parts are operands twice, or leave."""
    y = file.dequantize(x)
    product = file.multiply(y, file.row(floats(33)))
    yield file.multiply(y, y)
    yield file.add(file.multiply(y, y), y)
    yield file.add(product, product)
    yield file.subtract(y, y)
    yield file.add(product, file.negate(y))
    yield file.add(file.multiply(y, file.row(2)), file.row(floats(33)))
    yield file.total(file.squared_difference(y, y))
    yield file.total(file.squared_difference(file.mean(y), y))
    yield file.total(file.squared_difference(y, file.row(floats(33))))
    scale = file.multiply(file.mean(y), file.row(floats(33)))
    yield file.add(file.multiply(y, scale), file.multiply(scale, file.mean(y)))
    yield file.add(file.multiply(scale, scale), file.multiply(scale, y))
    yield scale


@pytest.mark.parametrize("every", [True, False])
def test_tensors_that_are_read_twice(every):
    """All results at once, where no tensor is read only once, and each by itself."""
    shape = (5, 7, 33)
    count = 12
    for only in [None] if every else range(count):
        file = RowFile()
        x = file.tensor(shape, 0.03, 3)
        outputs = list(read_again(file, x))
        assert len(outputs) == count
        kept = outputs if only is None else outputs[only : only + 1]
        content = file.content([x], kept)
        assert any(claims(content))
        assert_equal_with_both(content, [steps(*shape)])


def test_a_fused_step_of_fewer_rows():
    """An operand of a scaled sum has the rows of one batch."""
    file = RowFile()
    x, y = file.tensor((1, 16, 33), 0.03, 3), file.floats((2, 16, 33))
    product = file.multiply(file.dequantize(x), file.row(floats(33)))
    content = file.content([x, y], [file.add(y, product)])
    assert_same(content, [steps(1, 16, 33), floats(2, 16, 33)])


def test_regions_on_both_sides_of_a_layer():
    """The float sum goes around the layer, which no region may surround."""
    file = RowFile()
    x = file.tensor((6, 32), 0.03, 3)
    y = file.dequantize(x)
    gamma = np.ones(32)
    weights = RNG.integers(-127, 128, (32, 32), dtype=np.int8)
    for _ in range(2):
        inner = file.quantize(file.layer_norm(y, gamma))
        made = file.operator(
            "FULLY_CONNECTED",
            [inner, file.tensor((32, 32), 0.01, data=weights)],
            file.tensor((6, 32), 0.1, -9),
            "FullyConnectedOptions",
        )
        y = file.add(file.dequantize(made), y)
    content = file.content([x], [y])
    assert len(groups(content)) == 5
    assert_same(content, [steps(6, 32)])


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


@pytest.mark.parametrize("batches", [(3, 1), (1, 3)])
def test_one_operand_may_get_another_batch(batches):
    """Plain LiteRT broadcasts the other."""
    content, _ = transformer_rows((1, 16, 33))
    arrays = steps(batches[0], 16, 33), floats(batches[1], 16, 33)
    assert_equal_with_both(content, arrays)


@pytest.mark.xfail(reason="no such broadcast in a region", raises=RuntimeError)
def test_an_operand_may_be_repeated_in_the_middle_later():
    file = RowFile()
    x, y = file.floats((2, 3, 8)), file.floats((2, 3, 8))
    content = file.content([x, y], [file.add(x, y)])
    assert_equal_with_both(content, [floats(2, 3, 8), floats(2, 1, 8)])


def changed(content):
    """The file with one field of one tensor or operator changed."""
    count = len(read(content).subgraphs[0].tensors)
    shapes = [], [0, 7, 8], [7, 9], [-7, 8], [2**14] * 4, [1] * 9, [1, 1, 1, 7, 8], [8]
    for i in range(count):
        for j, shape in enumerate(shapes):
            tree = read(content)
            tree.subgraphs[0].tensors[i].shape = shape
            yield f"shape{i}_{j}", pack(tree)
        for kind in (0, 2, 6, 9):
            tree = read(content)
            tree.subgraphs[0].tensors[i].type = kind
            yield f"type{i}_{kind}", pack(tree)
        tree = read(content)
        graph = tree.subgraphs[0]
        if graph.tensors[i].buffer:
            buffer = tree.buffers[graph.tensors[i].buffer]
            buffer.data = np.asarray(buffer.data)[:-1]
            yield f"short{i}", pack(tree)
        tree = read(content)
        tree.subgraphs[0].tensors[i].quantization = None
        yield f"unquantized{i}", pack(tree)
        tree = read(content)
        tree.subgraphs[0].inputs = [*tree.subgraphs[0].inputs, i]
        yield f"input{i}", pack(tree)
        tree = read(content)
        tree.subgraphs[0].outputs = [i]
        yield f"output{i}", pack(tree)
    for i in range(len(read(content).subgraphs[0].operators)):
        for j, inputs in enumerate(([], [0], [1, 1], [-1, 1], [0, 99], [3, 2, 1])):
            tree = read(content)
            tree.subgraphs[0].operators[i].inputs = inputs
            yield f"inputs{i}_{j}", pack(tree)
        tree = read(content)
        operator = tree.subgraphs[0].operators[i]
        operator.builtinOptions, operator.builtinOptionsType = None, 0
        yield f"options{i}", pack(tree)
        tree = read(content)
        operator = tree.subgraphs[0].operators[i]
        operator.outputs = list(operator.inputs)[:1]
        yield f"onto_itself{i}", pack(tree)


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
