"""Formats: the numbers that weights and activations are rounded to.

A format is one object for all that happens to a number: `fake` while it trains,
`encode` when it is stored, `decode` when it is read.
"""

from qsparse.methods.formats.base import (
    FORMATS,
    Format,
    check_activations,
    name_of,
)
from qsparse.methods.formats.block_int import BlockInt
from qsparse.methods.formats.few_bits import FewBits
from qsparse.methods.formats.hbfp import HBFP
from qsparse.methods.formats.int8 import Int8
from qsparse.methods.formats.int16x8 import Int16x8
from qsparse.methods.formats.integers import IntN
from qsparse.methods.formats.learned import LearnedInt
from qsparse.methods.formats.mx import MX

__all__ = [
    "FORMATS",
    "HBFP",
    "MX",
    "BlockInt",
    "FewBits",
    "Format",
    "Int8",
    "Int16x8",
    "IntN",
    "LearnedInt",
    "check_activations",
    "name_of",
]
