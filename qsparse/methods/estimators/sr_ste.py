"""SR-STE: straight through, and pruned weights decay."""

from dataclasses import dataclass
from typing import Any

from qsparse.methods.estimators.base import ESTIMATORS
from qsparse.methods.estimators.ste import STE
from qsparse.methods.validate import real


@ESTIMATORS.register("sr-ste")
@dataclass(frozen=True)
class SRSTE(STE):
    """Sparse-refined straight-through estimator.

    Pruned weights keep learning but decay towards zero, which keeps the mask
    from flipping back and forth. The decay is part of the gradient: with Adam it is
    divided by the root of the second moment, like the rest.

    Args:
        decay: the paper's lambda, not negative; 2e-4 is its value for ImageNet.

    Raises:
        ValueError: if `decay` is negative.
    """

    decay: float = 2e-4

    def __post_init__(self) -> None:
        object.__setattr__(self, "decay", real("decay", self.decay))
        if self.decay < 0:
            raise ValueError(f"SRSTE needs decay >= 0. Received: decay={self.decay}")

    def correction(self, weights: Any, mask: Any) -> Any:
        """Returns `decay * (1 - mask) * weights`."""
        # What the mask takes away; the product is the one of the forward pass.
        return self.decay * (weights - weights * mask)
