"""Observers: how a range follows what each training step brings.

Ranges are computed with as sizes `(-low, high)`, both not negative: one formula
serves both ends.
"""

from qsparse.methods.observers.base import OBSERVERS, Observer, sizes_by
from qsparse.methods.observers.least_error import LeastError
from qsparse.methods.observers.lsq import LSQ
from qsparse.methods.observers.min_max import MinMax
from qsparse.methods.observers.moving_average import MovingAverage
from qsparse.methods.observers.percentile import Percentile

__all__ = [
    "LSQ",
    "OBSERVERS",
    "LeastError",
    "MinMax",
    "MovingAverage",
    "Observer",
    "Percentile",
    "sizes_by",
]
