"""CAST: an L1 decay, inside Adam, of the weights that are to go."""

from dataclasses import dataclass
from typing import Any, ClassVar

from keras import ops

from qsparse.methods.estimators.base import (
    ESTIMATORS,
    check_decay,
    dense_until_the_end,
    ramp,
)


@ESTIMATORS.register("cast")
@dataclass(frozen=True)
class CAST:
    """The layer computes with all its weights; those outside the mask go to zero.

    After each step of the optimizer they come nearer to zero by the same length, as an
    L1 penalty has it, and stop there:

        w -= sign(w) * min(|w|, rate * decay / (sqrt(v) + epsilon)) * (1 - mask)

    with the second moment `v` as in `DecoupledSRSTE`. The optimizer AdamS of Huang et
    al., "CAST: continuous and differentiable semi-structured sparsity-aware training",
    2025, as secondary sources describe it: the paper's scaling of the weights that stay
    and its teacher are not in here. Masks are selected often, every 10 steps there.

    Args:
        decay: not negative.
        steps: over how many steps the decay grows from 0 to that; 0 for none.

    Raises:
        ValueError: if `decay` or `steps` is negative.
    """

    dense_until_the_end: ClassVar[bool] = True

    decay: float = 1e-3
    steps: int = 0

    def __post_init__(self) -> None:
        check_decay(self)

    def __call__(self, weights: Any, mask: Any, progress: Any) -> Any:
        """Returns all weights; at the end, `weights * mask`. See `Estimator`."""
        return dense_until_the_end(weights, mask, progress)

    def correction(self, weights: Any, mask: Any) -> Any:
        """None: nothing beside the gradient of the forward pass."""
        return None

    def settle(self, weights: Any, mask: Any, rate: Any, spread: Any, step: Any) -> Any:
        """Returns the weights after the decay; see `Estimator`."""
        length = rate * ramp(self.decay, self.steps, step) / spread
        way = ops.minimum(ops.abs(weights), length)
        return weights - ops.sign(weights) * way * (1.0 - mask)
