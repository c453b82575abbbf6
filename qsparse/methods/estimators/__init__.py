"""Estimators: how the gradient meets the mask.

They differ in what the layer computes with while pruning goes on, in the gradient that
reaches the dense master weights, and in what becomes of these after a step. At the end
of the pruning phase all compute with `weights * mask`.

| estimator | computes with | dL/dw | after a step |
|---|---|---|---|
| `Masked` | `w * mask` | `upstream * mask` | |
| `STE` | `w * mask` | `upstream` (straight through) | |
| `SRSTE` | `w * mask` | `upstream + decay * (1 - mask) * w` | |
| `DecoupledSRSTE` | `w * mask` | `upstream` | pruned weights decay |
| `DecayingMask` | pruned weights fade out | `upstream`, or scaled | |
| `SoftShrinkage` | `w` | `upstream` | pruned weights shrink |
| `CAST` | `w` | `upstream` | pruned weights shrink by L1 |
"""

from qsparse.methods.estimators.base import (
    ESTIMATORS,
    Estimator,
    nothing_with_gradient,
    settles,
    straight_through,
)
from qsparse.methods.estimators.cast import CAST
from qsparse.methods.estimators.decaying_mask import DecayingMask
from qsparse.methods.estimators.decoupled import DecoupledSRSTE
from qsparse.methods.estimators.masked import Masked
from qsparse.methods.estimators.soft_shrinkage import SoftShrinkage
from qsparse.methods.estimators.sr_ste import SRSTE
from qsparse.methods.estimators.ste import STE

__all__ = [
    "ESTIMATORS",
    "SRSTE",
    "STE",
    "CAST",
    "DecayingMask",
    "DecoupledSRSTE",
    "SoftShrinkage",
    "Estimator",
    "Masked",
    "nothing_with_gradient",
    "settles",
    "straight_through",
]
