"""Observers: how a range follows what each training step brings.

Ranges are computed with as sizes `(-low, high)`, both not negative: one formula
serves both ends.
"""

from qsparse.methods.observers.base import OBSERVERS, Observer
from qsparse.methods.observers.moving_average import MovingAverage

__all__ = ["OBSERVERS", "MovingAverage", "Observer"]
