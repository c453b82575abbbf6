"""Schedules: the sparsity at a training step.

A schedule is a frozen dataclass with two methods: `sparsity(step, begin, end,
final)` and `refreshes(step, begin, end, every)`, which says whether the masks
are selected anew at `step`. The pruning phase covers the steps `begin` to
`end`; afterwards masks stay frozen. A third, `pattern`, is optional: it lays
other patterns on before the last. A plain function of the progress is sampled.
"""

from qsparse.methods.schedules.base import SCHEDULES, Schedule, laid_on
from qsparse.methods.schedules.constant import Constant
from qsparse.methods.schedules.cosine import Cosine
from qsparse.methods.schedules.cubic import Cubic
from qsparse.methods.schedules.linear import Linear
from qsparse.methods.schedules.one_shot import OneShot
from qsparse.methods.schedules.sampled import Sampled
from qsparse.methods.schedules.sdgf import SdGf
from qsparse.methods.schedules.stepwise import Stepwise

__all__ = [
    "SCHEDULES",
    "Constant",
    "Cosine",
    "Cubic",
    "Linear",
    "OneShot",
    "Sampled",
    "Schedule",
    "SdGf",
    "Stepwise",
    "laid_on",
]
