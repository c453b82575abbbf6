"""Geometric means of the kernels' table, beside what was asked of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.cases import shapes

# (group, pattern, sparsity, isa) -> (column, least geometric mean)
TARGETS: dict[tuple[str, str, float, str], tuple[str, float]] = {
    (group, pattern, sparsity, "avx512vnni"): ("ratio_xnnpack", least)
    for group, pattern, sparsity, least in [
        ("fc", "dense", 0.0, 1.4),
        ("fc", "4x4", 0.5, 2.7),
        ("fc", "4x4", 0.75, 4.8),
        ("fc", "4x4", 0.8, 5.7),
        ("fc", "4x4", 0.9, 9.0),
        ("fc", "4:16", 0.75, 2.6),
        ("fc", "8:64", 0.875, 4.6),
        ("conv 3x3", "4x4", 0.5, 2.4),
        ("conv 3x3", "4x4", 0.75, 4.3),
        ("conv 3x3", "4x4", 0.8, 5.2),
        ("conv 3x3", "4x4", 0.9, 8.7),
        ("conv 3x3", "4:16", 0.75, 2.1),
        ("fc batch 1", "2:4", 0.5, 1.55),
        ("fc batch 1", "1:4", 0.75, 3.0),
        ("fc batch 1", "16x4", 0.8, 4.5),
        ("chain", "4x4", 0.5, 2.6),
        ("chain", "4x4", 0.75, 5.0),
        ("chain", "4x4", 0.8, 6.2),
        ("chain", "4x4", 0.9, 11.0),
    ]
}
# XNNPACK cannot be held to a lower ISA than the CPU has. A prototype that was
# measured against XNNPACK's kernels of the same ISA gained this much, sparse and
# dense; their quotient is what is asked of us over our own dense kernels.
_PROTOTYPE_DENSE = {"avxvnni": 1.09, "avx2": 1.34}
_PROTOTYPE = {
    ("4x4", 0.5, "avxvnni"): 2.14,
    ("4x4", 0.75, "avxvnni"): 4.28,
    ("4x4", 0.8, "avxvnni"): 5.4,
    ("4x4", 0.9, "avxvnni"): 10.9,
    ("8:16", 0.5, "avxvnni"): 1.65,
    ("4:16", 0.75, "avxvnni"): 3.25,
    ("4x4", 0.5, "avx2"): 2.65,
    ("4x4", 0.75, "avx2"): 5.3,
    ("4x4", 0.8, "avx2"): 6.6,
    ("4x4", 0.9, "avx2"): 13.0,
    ("4:8", 0.5, "avx2"): 1.8,
    ("2:8", 0.75, "avx2"): 3.7,
}
TARGETS |= {
    ("fc", pattern, sparsity, isa): (
        "ratio_own_dense",
        round(0.9 * gain / _PROTOTYPE_DENSE[isa], 2),
    )
    for (pattern, sparsity, isa), gain in _PROTOTYPE.items()
}


@dataclass(frozen=True)
class Mean:
    """Geometric means over the shapes of a group.

    Attributes:
        group, pattern, sparsity, isa: what the rows have in common.
        shapes: how many rows there are.
        ratio_xnnpack, ratio_own_dense: means of these columns.
        limit: `ratio_xnnpack` if our kernels ran at the ISA's peak and did nothing
            else; None where memory bounds, or where the peak is not known.
        column: the column `target` speaks of.
        target: least mean asked for, or None.
        met: whether it is reached; None without a target, or with rows of only some
            of the group's shapes.
        exact: whether every row is bit-exact.
    """

    group: str
    pattern: str
    sparsity: float
    isa: str
    shapes: int
    ratio_xnnpack: float
    ratio_own_dense: float
    limit: float | None
    column: str | None
    target: float | None
    met: bool | None
    exact: bool


def means(rows: Sequence[dict[str, Any]]) -> list[Mean]:
    """Returns one entry per group, pattern, sparsity and ISA, in the rows' order."""
    keys = ("group", "pattern", "sparsity", "isa")
    together: dict[tuple, list[dict[str, Any]]] = {}
    for row in rows:
        together.setdefault(tuple(row[key] for key in keys), []).append(row)
    return [_mean(key, members) for key, members in together.items()]


def _mean(key: tuple[str, str, float, str], rows: list[dict[str, Any]]) -> Mean:
    group, pattern, sparsity, isa = key
    ratios = {
        column: _geometric([row[column] for row in rows])
        for column in ("ratio_xnnpack", "ratio_own_dense")
    }
    limit = None
    if group != "fc batch 1" and all(row["peak_share"] for row in rows):
        limit = _geometric([row["ratio_xnnpack"] / row["peak_share"] for row in rows])
    column, target = TARGETS.get(key, (None, None))
    met = None
    complete = len(rows) == sum(shape.group == group for shape in shapes())
    if column is not None and target is not None and complete:
        met = ratios[column] >= target
    return Mean(
        group=group,
        pattern=pattern,
        sparsity=sparsity,
        isa=isa,
        shapes=len(rows),
        ratio_xnnpack=ratios["ratio_xnnpack"],
        ratio_own_dense=ratios["ratio_own_dense"],
        limit=limit,
        column=column,
        target=target,
        met=met,
        exact=all(row["bit_exact"] for row in rows),
    )


def _geometric(values: Sequence[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values))
