"""Criteria: how much a weight matters. The lowest scores are pruned first.

A criterion sees the weights. One that says `needs_gradients` sees the gradients too:
its `score` takes a second argument.
"""

from qsparse.methods.criteria.base import CRITERIA, Criterion, needs_gradients
from qsparse.methods.criteria.magnitude import Magnitude
from qsparse.methods.criteria.saliency import Saliency

__all__ = ["CRITERIA", "Criterion", "Magnitude", "Saliency", "needs_gradients"]
