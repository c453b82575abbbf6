"""Iterative soft shrinkage: weights that would be pruned shrink at each step."""

from dataclasses import dataclass
from typing import Any, ClassVar

from keras import ops

from qsparse.methods.estimators.base import ESTIMATORS, dense_until_the_end
from qsparse.methods.validate import real


@ESTIMATORS.register("soft-shrinkage")
@dataclass(frozen=True)
class SoftShrinkage:
    """The layer computes with all its weights; those outside the mask shrink.

    After each step of the optimizer they are multiplied by `factor`, until the end of
    the pruning phase makes them zero: ISS-P of Wang et al., "Iterative soft shrinkage
    learning for efficient image super-resolution", 2023. Masks that are selected often
    (`update_every`) let a weight grow back that was taken for a small one too early.

    Args:
        factor: above 0 and below 1; 0.95 is the paper's.

    Raises:
        ValueError: if `factor` is outside.
    """

    dense_until_the_end: ClassVar[bool] = True

    factor: float = 0.95

    def __post_init__(self) -> None:
        object.__setattr__(self, "factor", real("factor", self.factor))
        if not 0.0 < self.factor < 1.0:
            raise ValueError(
                f"`factor` must be above 0 and below 1. Received: factor={self.factor}"
            )

    def __call__(self, weights: Any, mask: Any, progress: Any) -> Any:
        """Returns all weights; at the end, `weights * mask`. See `Estimator`."""
        return dense_until_the_end(weights, mask, progress)

    def correction(self, weights: Any, mask: Any) -> Any:
        """None: nothing beside the gradient of the forward pass."""
        return None

    def settle(self, weights: Any, mask: Any, rate: Any, spread: Any, step: Any) -> Any:
        """Returns the weights, those outside the mask times `factor`."""
        return weights * ops.maximum(mask, self.factor)
