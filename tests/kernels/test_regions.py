"""Float arithmetic on rows gives stock LiteRT's results to the last bit."""

import numpy as np
import pytest

from ..row_models import BINARY, RowFile
from .region_runs import (
    assert_equal_with_both,
    assert_same,
    floats,
    groups,
    steps,
    transformer_rows,
)
from .test_resize import claims

RNG = np.random.default_rng(0)
# What rounds, overflows, is no number or is too small to be normal.
SPECIAL = np.array(
    [0, -0.0, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 1e-40, 1e-38, 1.2e-38, 1.7e38]
    + [3.4e38, -3.4e38, -1, 1, 2, 1e10, -1e10, 32767, 1e5, -1e5, 2.0**31, -(2.0**31)]
    + [2.0**40, 0.015, 0.045, -0.015, 0.5, 1.5, 2.5, -0.5, -1.5, 126.5, -128.5],
    np.float32,
)


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
