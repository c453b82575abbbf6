"""Callbacks: what a user hands to `model.fit`."""

from qsparse.callbacks.compress import Compress
from qsparse.callbacks.orders import (
    Joint,
    Prune,
    PruneThenQuantize,
    Quantize,
    QuantizeThenPrune,
)

__all__ = [
    "Compress",
    "Joint",
    "Prune",
    "PruneThenQuantize",
    "Quantize",
    "QuantizeThenPrune",
]
