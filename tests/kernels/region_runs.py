"""Run files of float arithmetic with and without the delegate; compare every bit."""

import numpy as np

from ..row_models import RowFile
from .graph_fuzz.writer import pack, read
from .test_resize import again, both, claims, plan, results

RNG = np.random.default_rng(0)


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
    for threads in (1, 2):
        plain, ours = both(content, threads)
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
