"""STE: straight through the mask."""

from dataclasses import dataclass
from typing import Any

from qsparse.methods.estimators.base import ESTIMATORS, straight_through


@ESTIMATORS.register("ste")
@dataclass(frozen=True)
class STE:
    """Straight-through: pruned weights keep learning and may come back."""

    def __call__(self, weights: Any, mask: Any, progress: Any) -> Any:
        """Returns `weights * mask`; both float tensors of one shape."""
        return straight_through(weights, weights * mask)

    def correction(self, weights: Any, mask: Any) -> Any:
        """None: nothing beside the gradient of the forward pass."""
        return None
