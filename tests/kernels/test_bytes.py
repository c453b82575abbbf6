"""Choices and lookups give stock LiteRT's results to the last bit."""

import numpy as np
import pytest

from ..row_models import RowFile
from . import runner
from .region_runs import (
    assert_equal,
    assert_equal_with_both,
    assert_same,
    changed,
    steps,
)
from .test_corrupted_models import crashes
from .test_resize import both, plan, results

RNG = np.random.default_rng(0)
SHAPE = (2, 3, 5, 7)
MASKS = [
    tuple(size if i >> axis & 1 else 1 for axis, size in enumerate(SHAPE))
    for i in range(16)
]
MASKS += [(3, 5, 7), (3, 1, 7), (3, 1, 1), (5, 7), (5, 1), (7,), (1,)]


def choice(mask, shape=SHAPE, otherwise_shape=(), otherwise=-77):
    file = RowFile()
    m, x = file.mask(mask), file.tensor(shape, 0.05, 3)
    return file.content([m, x], [file.select(m, x, otherwise, otherwise_shape)])


def random_mask(shape):
    return np.asarray(RNG.random(shape) < 0.5)


@pytest.mark.parametrize("mask", MASKS)
def test_masks_of_every_form(mask):
    assert_same(choice(mask), [random_mask(mask), steps(*SHAPE)], least=1)


@pytest.mark.parametrize("shape", [(1, 3, 5, 7), (2, 1, 5, 7), (1, 1, 1, 7)])
@pytest.mark.parametrize("mask", [SHAPE, (2, 3, 5, 1), (2, 1, 5, 1), (3, 5, 7)])
def test_values_that_are_repeated(mask, shape):
    assert_same(choice(mask, shape), [random_mask(mask), steps(*shape)], least=4)


@pytest.mark.parametrize("value", [True, False])
@pytest.mark.parametrize("mask", [SHAPE, (2, 1, 1, 1), (2, 1, 5, 7)])
def test_masks_of_one_value(mask, value):
    least = 100 if value else 1
    assert_same(choice(mask), [np.full(mask, value), steps(*SHAPE)], least)


@pytest.mark.parametrize("otherwise", [-128, 0, 127])
@pytest.mark.parametrize("rows", [1, 7, 127, 128, 129, 700])
@pytest.mark.parametrize("columns", [1, 16, 33, 64])
def test_choices_of_many_sizes(rows, columns, otherwise):
    """Tasks of 128 rows, registers and what is left of them."""
    for mask in ((rows, columns), (1, columns), (rows, 1)):
        content = choice(mask, (rows, columns), otherwise=otherwise)
        arrays = [random_mask(mask), steps(rows, columns)]
        assert_same(content, arrays, least=min(rows * columns, 2) // 2)


def test_a_constant_of_several_axes():
    assert_same(
        choice((3, 7), (3, 7), (1, 1)), [random_mask((3, 7)), steps(3, 7)], least=2
    )


@pytest.mark.parametrize(
    ("mask", "shape", "otherwise", "reason"),
    [
        ((), SHAPE, (), "mask of a larger shape"),
        ((1, *SHAPE), SHAPE, (), "mask of a larger shape"),
        ((3, 7), (3, 1), (), "mask of a larger shape"),
        ((3, 7), (3, 7), (1, 1, 1), "no choice between a tensor and a constant"),
        ((3, 7), (3, 7), (7,), "no choice between a tensor and a constant"),
    ],
)
def test_choices_that_are_left_alone(mask, shape, otherwise, reason):
    content = choice(mask, shape, otherwise)
    assert [d["reason"] for d in plan(content)] == [reason]
    assert_equal_with_both(content, [random_mask(mask), steps(*shape)])


def test_shapes_of_choices_may_change():
    plain, ours = both(choice((2, 1, 5, 7)), 2)
    for mask, shape in (
        ((4, 1, 5, 7), (4, 3, 5, 7)),
        ((1, 1, 5, 7), (4, 3, 5, 7)),
        ((9, 9), (2, 9, 9)),
        ((2, 1, 5, 7), SHAPE),
    ):
        arrays = [random_mask(mask), steps(*shape)]
        assert_equal(results(ours, arrays), results(plain, arrays))


def test_the_mask_alone_may_get_another_batch():
    content = choice((1, 1, 5, 7), (1, 3, 5, 7))
    assert_equal_with_both(content, [random_mask((4, 1, 5, 7)), steps(1, 3, 5, 7)])


def lookup(shape, *arguments, scale=0.03, zero_point=3):
    file = RowFile()
    x = file.tensor(shape, scale, zero_point)
    return file.content([x], [file.gelu(x, *arguments)])


EVERY_VALUE = np.arange(-128, 128, dtype=np.int8)[None]
SCALES = [*np.geomspace(1e-4, 1, 13), 0.0039, 0.05, 1.2e-38, 1e-30, 1e30, 3e37]


@pytest.mark.parametrize("approximate", [False, True])
@pytest.mark.parametrize("scale", SCALES)
def test_tables_of_gelu(scale, approximate):
    """All inputs at once; LiteRT makes its own table of 256."""
    for ratio in (0.3, 1, 2.7):
        for zero_point, to in ((-128, 127), (127, -128), (0, 0), (3, -100)):
            content = lookup(
                *((1, 256), scale * ratio, to, approximate),
                scale=scale,
                zero_point=zero_point,
            )
            assert_equal_with_both(content, [EVERY_VALUE])


@pytest.mark.parametrize("approximate", [False, True])
def test_gelu_is_taken(approximate):
    for isa in runner.ISAS:
        content = lookup((1, 256), 0.02, -100, approximate)
        assert_same(content, [EVERY_VALUE], least=50, isa=isa)


@pytest.mark.parametrize("count", [1, 63, 64, 65, 16383, 16384, 16385, 40000])
def test_lengths_of_lookups(count):
    """Registers of 64 and tasks of 16384 values."""
    for isa in ("avx512vnni", "portable"):
        content = lookup((count,))
        assert_same(content, [steps(count)], least=min(count, 20), isa=isa)


def test_shapes_of_lookups_may_change():
    plain, ours = both(lookup((2, 7)))
    for shape in ((5, 700), (3,), (2, 7)):
        arrays = [steps(*shape)]
        assert_equal(results(ours, arrays), results(plain, arrays))


@pytest.mark.parametrize("kind", ["choice", "lookup"])
def test_corrupted_files(kind, tmp_path):
    content = choice((1, 8), (7, 8)) if kind == "choice" else lookup((7, 8))
    assert crashes(dict(changed(content)), tmp_path) == []
