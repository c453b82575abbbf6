"""Allocation: how the recipe's sparsity is shared out among layers.

| allocation | a layer's share | the recipe's sparsity is | when |
|---|---|---|---|
| `Uniform` | the recipe's sparsity | that of every layer | once |
| `UniformPlus` | alike, but for the first and the last | the total | once |
| `ERK` | by the size of its kernel | the total | once |
| `Sensitivity` | by what was measured | the total | once |
| `Global`, `LAMP` | by the scores of its weights | the total | at each selection |

Kernels whose sparsity is fixed, as under N:M, count towards a total, and the others are
solved so that it holds within one unit of the pattern for each layer.
"""

from qsparse.methods.allocations.base import (
    ALLOCATIONS,
    Allocation,
    Kernel,
    holds_total,
    is_dynamic,
)
from qsparse.methods.allocations.erk import ERK
from qsparse.methods.allocations.global_threshold import Global
from qsparse.methods.allocations.lamp import LAMP
from qsparse.methods.allocations.sensitivity import Sensitivity
from qsparse.methods.allocations.uniform import Uniform
from qsparse.methods.allocations.uniform_plus import UniformPlus

__all__ = [
    "ALLOCATIONS",
    "ERK",
    "LAMP",
    "Allocation",
    "Global",
    "Kernel",
    "Sensitivity",
    "Uniform",
    "UniformPlus",
    "holds_total",
    "is_dynamic",
]
