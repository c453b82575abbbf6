"""Masked: no gradient reaches a pruned weight."""

from dataclasses import dataclass
from typing import Any

from qsparse.methods.estimators.base import ESTIMATORS


@ESTIMATORS.register("masked")
@dataclass(frozen=True)
class Masked:
    """Pruned weights receive no gradient.

    Momentum and weight decay may still move their master values a little.
    """

    def __call__(self, weights: Any, mask: Any, progress: Any) -> Any:
        """Returns `weights * mask`; both float tensors of one shape."""
        return weights * mask

    def correction(self, weights: Any, mask: Any) -> Any:
        """None: nothing beside the gradient of the forward pass."""
        return None
