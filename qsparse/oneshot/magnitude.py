"""Magnitude: the recipe's own criterion, and weights that stay what they are."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from qsparse.methods.criteria import needs_gradients
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
        """Returns what `plan.criterion` keeps.

        Raises:
            ValueError: if the criterion needs gradients.
        """
        if needs_gradients(plan.criterion):
            raise ValueError(
                f"Layer '{plan.path}' is scored by {plan.criterion}, which needs the "
                "gradients of a training. Give the recipe criterion='magnitude', or "
                "one_shot another method."
            )
        weights = problem.canonical(problem.weights).astype(np.float32)
        return plan.pattern.mask(plan.criterion.score(weights), plan.sparsity)
