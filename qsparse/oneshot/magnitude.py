"""Magnitude: the recipe's own criterion, and weights that stay what they are."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from qsparse.oneshot.base import ONE_SHOT
from qsparse.oneshot.problem import Problem


@ONE_SHOT.register("magnitude")
@dataclass(frozen=True)
class OneShotMagnitude:
    """The masks of the recipe's criterion, and nothing that makes up for them.

    The baseline that other methods are measured against.
    """

    refits: ClassVar[bool] = False

    def mask(self, problem: Problem, plan: Any) -> np.ndarray:
        """Returns what `plan.criterion` keeps; Wanda sees the norms of the inputs.

        Raises:
            ValueError: if the criterion scores by what comes from training.
        """
        norms = np.sqrt(np.diag(problem.gram)).reshape(*problem.shape[:2], 1)
        known = plan.statistics(activations=norms.astype(np.float32))
        weights = problem.canonical(problem.weights).astype(np.float32)
        return plan.pattern.mask(plan.criterion.score(weights, **known), plan.sparsity)
