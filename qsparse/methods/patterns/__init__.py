"""Patterns: which weights of a kernel may be zero together.

Every pattern works on scores in canonical form `(taps, inputs, outputs)` (see
`qsparse.planning.layouts`): `inputs` is the reduction axis, along which groups run, and
`taps` are the kernel positions of a convolution. Masks are computed in numpy
on the host, so that they are equal, bit for bit, on every Keras backend.

Ties are broken by index: of two equal scores the one with the lower flat index
(C order) is kept. Counts are exact. No mask leaves an output without any weight: the
best tile of every tile of outputs stays, so that a small layer may end with fewer
zeros than asked for, and never with nothing else.
"""

from qsparse.methods.patterns.base import PATTERNS, Pattern, check_sparsity
from qsparse.methods.patterns.block import Block
from qsparse.methods.patterns.capacity import Capacity, capacity, unit_scores
from qsparse.methods.patterns.nm import NM
from qsparse.methods.patterns.unstructured import Unstructured

__all__ = [
    "NM",
    "PATTERNS",
    "Block",
    "Capacity",
    "Pattern",
    "Unstructured",
    "capacity",
    "check_sparsity",
    "unit_scores",
]
