"""Callbacks: what a user hands to `model.fit`."""

from qsparse.callbacks.compress import Compress
from qsparse.callbacks.guard import Guard
from qsparse.callbacks.orders import (
    Joint,
    Prune,
    PruneThenQuantize,
    Quantize,
    QuantizeThenPrune,
)

__all__ = [
    "Compress",
    "Guard",
    "Joint",
    "Prune",
    "PruneThenQuantize",
    "Quantize",
    "QuantizeThenPrune",
]
