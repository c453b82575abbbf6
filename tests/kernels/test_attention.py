"""Products of activations and softmax give stock LiteRT's results to the last bit."""

import math

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, load_delegate

from ..attention_models import Quantized, batch_matmul_model, softmax_model
from . import runner
from .test_corrupted_models import crashes


def make(model, threads=1, /, **options):
    delegates = [load_delegate(runner.LIBRARY, options)] if options else []
    interpreter = Interpreter(
        model_content=model.content,
        experimental_delegates=delegates,
        num_threads=threads,
    )
    interpreter.allocate_tensors()
    return interpreter


def invoke(interpreter, arrays):
    for detail, array in zip(interpreter.get_input_details(), arrays, strict=True):
        interpreter.set_tensor(detail["index"], array)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def assert_exact(model, arrays=None, isas=runner.ISAS, threads=(1, 2), least=9):
    arrays = model.sample() if arrays is None else arrays
    expected = invoke(make(model), arrays)
    assert np.unique(expected).size >= least, "degenerate output proves nothing"
    for isa in isas:
        (decision,) = runner.plan_of(model, isa=isa, min_gain="0")
        assert decision["claimed"], decision
        for count in threads:
            ours = make(model, count, isa=isa, min_gain="0")
            for _ in range(2):  # buffers are used again
                np.testing.assert_array_equal(
                    invoke(ours, arrays), expected, err_msg=f"{isa} x{count}"
                )
    return expected


def transposed(shape, adjoint):
    return (*shape[:-2], shape[-1], shape[-2]) if adjoint else shape


def product(m, k, n, batch=(), adj_x=False, adj_y=False, zero_points=(3, -7), **keys):
    x = Quantized(transposed((*batch, m, k), adj_x), 0.05, zero_points[0])
    y = Quantized(transposed((*batch, k, n), adj_y), 0.02, zero_points[1])
    return batch_matmul_model(x, y, adj_x=adj_x, adj_y=adj_y, **keys)


ADJOINTS = [(False, False), (False, True), (True, False), (True, True)]


@pytest.mark.parametrize(("adj_x", "adj_y"), ADJOINTS)
@pytest.mark.parametrize(
    ("m", "k", "n"),
    [
        (128, 32, 128),
        (197, 64, 197),
        (197, 197, 64),
        (7, 1, 33),
        (1, 64, 100),
        (100, 64, 1),
        (6, 3, 16),
        (13, 67, 49),
        (25, 130, 80),
        (5, 66, 17),
        (31, 5, 81),
    ],
)
def test_shapes(m, k, n, adj_x, adj_y):
    assert_exact(product(m, k, n, (2,), adj_x, adj_y))


@pytest.mark.parametrize("batch", [(), (1,), (5,), (1, 12), (2, 3), (2, 1, 3)])
def test_batches(batch):
    assert_exact(product(37, 21, 45, batch))


@pytest.mark.parametrize("left", [-128, -1, 0, 127])
@pytest.mark.parametrize("right", [-128, -1, 1, 127])
def test_zero_points(left, right):
    mean = 40 * (left + 0.5) * (right + 0.5)
    multiplier = 100 / (abs(mean) + 2.5 * np.sqrt(40) * 74**2)
    model = product(
        *(19, 40, 35, (2,)),
        zero_points=(left, right),
        zero_point=-round(mean * multiplier),
        multiplier=multiplier,
    )
    assert_exact(model)


@pytest.mark.parametrize("exponent", range(-16, 0))
def test_scales(exponent):
    """Powers of two meet every tie; the others round to the last bit of the factor."""
    for factor in (0.25, 0.3333, 0.49999997):
        model = product(16, 9, 64, multiplier=factor * 2.0**exponent)
        expected = assert_exact(model, isas=("avx512vnni", "portable"), least=1)
        assert np.unique(expected).size >= (9 if exponent > -8 else 1)


ROUNDED_ONCE = (3, 0)  # zero points of products that XNNPACK takes


@pytest.mark.parametrize(("adj_x", "adj_y"), ADJOINTS)
@pytest.mark.parametrize(
    ("m", "k", "n"),
    [(197, 64, 197), (7, 1, 33), (1, 64, 100), (100, 64, 1), (13, 67, 49), (31, 5, 81)],
)
def test_shapes_that_are_rounded_once(m, k, n, adj_x, adj_y):
    assert_exact(product(m, k, n, (2,), adj_x, adj_y, ROUNDED_ONCE))


@pytest.mark.parametrize("batch", [(), (1,), (5,), (2, 3), (2, 1, 3)])
def test_batches_that_are_rounded_once(batch):
    assert_exact(product(37, 21, 45, batch, zero_points=ROUNDED_ONCE))


@pytest.mark.parametrize("left", [-128, -1, 0, 127])
@pytest.mark.parametrize("output", [-128, -1, 127])
def test_zero_points_beside_a_zero(left, output):
    model = product(19, 40, 35, (2,), zero_points=(left, 0), zero_point=output)
    assert_exact(model)


@pytest.mark.parametrize("exponent", range(-20, 9))
def test_scales_that_are_rounded_once(exponent):
    """Powers of two meet every tie, of which the even neighbour is the result."""
    for (adj_x, adj_y), factor in zip(
        ADJOINTS, (0.5, 0.25, 0.3333, 0.49999997), strict=True
    ):
        model = product(
            *(16, 9, 64, (), adj_x, adj_y, ROUNDED_ONCE),
            multiplier=factor * 2.0**exponent,
        )
        least = 9 if -8 < exponent < 1 else 2 if exponent > 0 else 1
        assert_exact(model, isas=("avx512vnni", "avx2", "portable"), least=least)


def test_largest_sums():
    """The deepest product whose sums stay in range, all of them at the limit."""
    model = product(6, 16512, 16, zero_points=(127, 127), multiplier=2.0**-24)
    arrays = [np.full(x.shape, -128, np.int8) for x in model.inputs]
    arrays[1][:, ::3] = 127
    arrays[1][::2, 1] = 127
    arrays[0][::2, ::2] = 50
    assert_exact(model, arrays, least=4)


def rounded_twice(total, multiplier):
    """The definition, in integers of any size."""
    fraction, exponent = math.frexp(multiplier)
    factor = round(fraction * 2**31)
    high = (int(total) * factor + 2**30) >> 31
    half = 2 ** (-exponent - 1)
    value = (abs(high) + half) >> -exponent
    return value if high >= 0 else -value


def test_the_rounding_is_that_of_the_definition():
    model = product(40, 30, 50, zero_point=11)
    left, right = model.sample()
    scales = [np.float32(t.scale) for t in (*model.inputs, model.output)]
    multiplier = float(scales[0] * scales[1]) / float(scales[2])
    sums = (left.astype(np.int64) - 3) @ (right.astype(np.int64) + 7)
    expected = [rounded_twice(total, multiplier) + 11 for total in sums.flat]
    expected = np.clip(expected, -128, 127).reshape(sums.shape)
    np.testing.assert_array_equal(
        invoke(make(model, min_gain="0"), (left, right)), expected
    )


def reason_of(model, **options):
    (decision,) = runner.plan_of(model, min_gain="0", **options)
    assert not decision["claimed"]
    arrays = model.sample()
    np.testing.assert_array_equal(
        invoke(make(model, min_gain="0"), arrays), invoke(make(model), arrays)
    )
    return decision["reason"]


def test_products_that_are_left_alone():
    assert reason_of(product(8, 8, 8, multiplier=0.75)) == "scales too far apart"
    assert reason_of(product(2, 16513, 3)) == "outputs may overflow"
    wide = batch_matmul_model(Quantized((3, 4, 5)), Quantized((1, 5, 6), 0.1, 4))
    assert reason_of(wide) == "broadcasts"
    flat = batch_matmul_model(Quantized((3, 4, 5)), Quantized((5, 6), 0.1, 4))
    assert reason_of(flat) == "rank not supported"


def test_a_constant_is_left_alone():
    data = np.ones((5, 6), np.int8)
    constant = Quantized((5, 6), 0.1, 4, data)
    model = batch_matmul_model(Quantized((4, 5)), constant)
    (decision,) = runner.plan_of(model, min_gain="0")
    assert decision["reason"] == "an input is constant"


def test_the_plan_of_a_product():
    (decision,) = runner.plan_of(product(197, 64, 197, (1, 12)))
    assert decision["op"] == "BATCH_MATMUL"
    assert decision["claimed"]
    assert decision["kernel"] == "matmul"
    assert decision["macs"] == 12 * 197 * 197 * 64
    assert decision["output_shape"] == [1, 12, 197, 197]
    assert decision["pattern"] is None
    assert decision["predicted_gain"] > 3


def test_products_may_change_their_shapes():
    model = product(9, 16, 20, (2,))
    interpreters = [make(model), make(model, min_gain="0")]
    rng = np.random.default_rng(0)
    for batch, m, k, n in ((2, 50, 7, 33), (4, 3, 70, 5), (2, 9, 16, 20)):
        shapes = ((batch, m, k), (batch, k, n))
        arrays = [rng.integers(-128, 128, s).astype(np.int8) for s in shapes]
        results = []
        for interpreter in interpreters:
            for detail, shape in zip(
                interpreter.get_input_details(), shapes, strict=True
            ):
                interpreter.resize_tensor_input(detail["index"], shape)
            interpreter.allocate_tensors()
            results.append(invoke(interpreter, arrays))
        np.testing.assert_array_equal(*results)


@pytest.mark.parametrize(
    "shape",
    [(1, 12, 128, 128), (2, 197, 197), (33, 65), (1, 1), (5, 1000), (3,), (17, 2)],
)
@pytest.mark.parametrize("scale", [0.003, 0.04, 0.5])
def test_softmax(shape, scale):
    model = softmax_model(shape, scale)
    assert_exact(model, least=2 if 20 < shape[-1] < 500 else 1)


@pytest.mark.parametrize("beta", [0.125, 0.7, 3.0])
def test_softmax_beta(beta):
    assert_exact(softmax_model((40, 77), 0.05, beta=beta), least=3)


def test_softmax_of_equal_values():
    """Quotients of one by small numbers: halves and whole ones among them."""
    for columns in range(1, 140):
        model = softmax_model((3, columns), 0.1)
        x = np.full((3, columns), -128, np.int8)
        x[1] = 127
        x[2, ::2] = 20
        assert_exact(model, [x], isas=("portable", "avx2", "avx512vnni"), least=1)


def test_softmax_that_is_left_alone():
    for scale, zero_point in ((1 / 128, -128), (1 / 256, -127)):
        output = Quantized((4, 8), scale, zero_point)
        model = softmax_model((4, 8), 0.1, output=output)
        try:
            make(model)
        except RuntimeError:
            continue  # nor does the runtime take it
        assert reason_of(model) == "output is not in 256ths"


def test_softmax_may_change_its_shape():
    model = softmax_model((4, 30), 0.04)
    interpreters = [make(model), make(model, min_gain="0")]
    rng = np.random.default_rng(0)
    for shape in ((9, 100), (1, 7), (4, 30)):
        x = rng.integers(-128, 128, shape).astype(np.int8)
        results = []
        for interpreter in interpreters:
            index = interpreter.get_input_details()[0]["index"]
            interpreter.resize_tensor_input(index, shape)
            interpreter.allocate_tensors()
            results.append(invoke(interpreter, [x]))
        np.testing.assert_array_equal(*results)


SHAPES = [(), (5,), (0, 8, 8), (3, 8, 9), (-3, 8, 8), (2**14,) * 4, (1,) * 7]
SCALES = [[], [0.0], [-0.1], [np.nan], [np.inf], [1e-38], [1e38], [0.1, 0.1]]
ZERO_POINTS = [[], [70000], [-129], [3, 3]]


def changed_files(content):
    """The model with one field at a time changed."""

    def pack(change):
        tree = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
        graph = tree.subgraphs[0]
        change(graph.tensors, graph.operators[0])
        builder = flatbuffers.Builder(4096)
        builder.Finish(tree.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def without_options(tensors, operator):
        operator.builtinOptions, operator.builtinOptionsType = None, 0

    def without_quantization(tensors, operator):
        tensors[0].quantization = None

    def single(tensors, operator):
        operator.inputs = [0]

    def twice(tensors, operator):
        operator.inputs = [0, 0]

    def outside(tensors, operator):
        operator.inputs = [0, 99][: len(operator.inputs)]

    for change in (without_options, without_quantization, single, twice, outside):
        yield change.__name__, pack(change)
    count = len(
        schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
        .subgraphs[0]
        .tensors
    )
    for i in range(count):
        for j, shape in enumerate(SHAPES):
            yield (
                f"shape{i}_{j}",
                pack(
                    lambda t, _, i=i, shape=shape: setattr(t[i], "shape", list(shape))
                ),
            )
        for j, scale in enumerate(SCALES):
            yield (
                f"scale{i}_{j}",
                pack(
                    lambda t, _, i=i, scale=scale: setattr(
                        t[i].quantization, "scale", np.asarray(scale, np.float32)
                    )
                ),
            )
        for j, zero_point in enumerate(ZERO_POINTS):
            yield (
                f"zero{i}_{j}",
                pack(
                    lambda t, _, i=i, zero_point=zero_point: setattr(
                        t[i].quantization, "zeroPoint", np.asarray(zero_point, np.int64)
                    )
                ),
            )
    rng = np.random.default_rng(0)
    for i in range(100):
        data = bytearray(content)
        for position in rng.integers(0, len(data), rng.integers(1, 4)):
            data[position] = rng.integers(0, 256)
        yield f"flip{i:03}", bytes(data)


@pytest.mark.parametrize("kind", ["product", "softmax"])
def test_corrupted_files(kind, tmp_path):
    model = product(8, 8, 8, (3,)) if kind == "product" else softmax_model((8, 8), 0.1)
    assert crashes(dict(changed_files(model.content)), tmp_path) == []


@pytest.mark.parametrize("beta", [0.0, -1.0, np.nan, np.inf, 1e-39])
def test_a_strange_beta_is_left_alone(beta):
    (decision,) = runner.plan_of(softmax_model((4, 8), 0.1, beta=beta), min_gain="0")
    assert decision["reason"] == "beta not supported"
