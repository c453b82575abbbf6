"""Regrowth: dynamic sparse training, in which masks move at a fixed sparsity.

At each selection after the first, some of the kept weights with the lowest scores are
dropped, and as many pruned ones grow: they start from zero, without a past in the
optimizer.
"""

from qsparse.methods.regrowth.base import REGROWTHS, Regrowth, regrown
from qsparse.methods.regrowth.rigl import RigL
from qsparse.methods.regrowth.set import SET

__all__ = ["REGROWTHS", "SET", "Regrowth", "RigL", "regrown"]
