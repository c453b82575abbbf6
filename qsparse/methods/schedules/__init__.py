"""Schedules: the sparsity at a training step.

A schedule is a frozen dataclass with two methods: `sparsity(step, begin, end,
final)` and `refreshes(step, begin, end, every)`, which says whether the masks
are selected anew at `step`. The pruning phase covers the steps `begin` to
`end`; afterwards masks stay frozen.
"""

from qsparse.methods.schedules.base import SCHEDULES, Schedule
from qsparse.methods.schedules.constant import Constant
from qsparse.methods.schedules.cubic import Cubic
from qsparse.methods.schedules.one_shot import OneShot

__all__ = ["SCHEDULES", "Constant", "Cubic", "OneShot", "Schedule"]
