"""SR-STE for Adam: the decay of pruned weights is kept out of the optimizer's past."""

from dataclasses import dataclass
from typing import Any

from keras import ops

from qsparse.methods.estimators.base import ESTIMATORS, check_decay, ramp
from qsparse.methods.estimators.ste import STE


@ESTIMATORS.register("sr-ste-decoupled")
@dataclass(frozen=True)
class DecoupledSRSTE(STE):
    """Straight-through, and pruned weights decay apart from the gradient.

    `SRSTE` adds its decay to the gradient. With Adam it then goes into the first
    moment, where it lingers after a weight comes back, and is scaled by the second.
    Here it is taken from the weights after the optimizer's step, as AdamW does with
    its decay:

        w -= rate * decay * (1 - mask) * w / (sqrt(v) + epsilon)

    with the second moment `v` of Adam and its kin, corrected for its start, and a
    divisor of 1 for other optimizers. After Huang et al., "Pruning large language
    models with semi-structural adaptive sparse training", 2024; there `v` has the
    decay in it too, here it is that of the loss's gradient alone.

    Args:
        decay: not negative. The paper has 6e-5 to 1e-4 with Adam.
        steps: over how many steps the decay grows from 0 to that; 0 for none.

    Raises:
        ValueError: if `decay` or `steps` is negative.
    """

    decay: float = 1e-4
    steps: int = 0

    def __post_init__(self) -> None:
        check_decay(self)

    def settle(self, weights: Any, mask: Any, rate: Any, spread: Any, step: Any) -> Any:
        """Returns the weights after the decay; see `Estimator`."""
        share = rate * ramp(self.decay, self.steps, step) / spread
        # No step is longer than the way to zero.
        return weights - ops.minimum(share, 1.0) * (1.0 - mask) * weights
