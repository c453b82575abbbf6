"""Criteria: how much a weight matters. The lowest scores are pruned first.

Every criterion sees the weights. What else it `needs` it says, as a tuple of names, and
its `score` takes these as keywords; `statistics.py` has what there is.

| criterion | score | sees |
|---|---|---|
| `Magnitude` | `|w|` | |
| `Random` | drawn once | |
| `Saliency` | `|w * sum of g|` | steps or data |
| `Movement` | `-sum of w * g` | steps |
| `SNIP` | `|w * sum of g|`, once | steps or data |
| `Fisher` | `w^2 * sum of g^2 / 2` | steps, data or the optimizer |
| `BlockFisher` | `w^2 / (2 [F^-1]_ii)` | data |
| `Wanda` | `|w| * ||x||` | data |
"""

from qsparse.methods.criteria.base import CRITERIA, Criterion, needs_of, ranks_once
from qsparse.methods.criteria.block_fisher import BlockFisher
from qsparse.methods.criteria.fisher import Fisher
from qsparse.methods.criteria.magnitude import Magnitude
from qsparse.methods.criteria.movement import Movement
from qsparse.methods.criteria.random import Random
from qsparse.methods.criteria.saliency import Saliency
from qsparse.methods.criteria.snip import SNIP
from qsparse.methods.criteria.statistics import STATISTICS, Statistic
from qsparse.methods.criteria.wanda import Wanda

__all__ = [
    "CRITERIA",
    "SNIP",
    "STATISTICS",
    "BlockFisher",
    "Criterion",
    "Fisher",
    "Magnitude",
    "Movement",
    "Random",
    "Saliency",
    "Statistic",
    "Wanda",
    "needs_of",
    "ranks_once",
]
