"""Estimators: how the gradient meets the mask.

The forward pass is the same for all of them, `weights * mask`. They differ in
the gradient that reaches the dense master weights:

| estimator | dL/dw |
|---|---|
| `Masked`  | `upstream * mask` |
| `STE`     | `upstream` (straight through) |
| `SRSTE`   | `upstream + decay * (1 - mask) * w` (Zhou et al., ICLR 2021) |
"""

from qsparse.methods.estimators.base import (
    ESTIMATORS,
    Estimator,
    nothing_with_gradient,
    straight_through,
)
from qsparse.methods.estimators.decaying_mask import DecayingMask
from qsparse.methods.estimators.masked import Masked
from qsparse.methods.estimators.sr_ste import SRSTE
from qsparse.methods.estimators.ste import STE

__all__ = [
    "ESTIMATORS",
    "SRSTE",
    "STE",
    "DecayingMask",
    "Estimator",
    "Masked",
    "nothing_with_gradient",
    "straight_through",
]
