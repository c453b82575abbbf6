"""Masked: no gradient reaches a pruned weight."""

from dataclasses import dataclass
from typing import Any, ClassVar

from qsparse.methods.estimators.base import ESTIMATORS


@ESTIMATORS.register("masked")
@dataclass(frozen=True)
class Masked:
    """Pruned weights receive no gradient.

    What an optimizer remembers of them is forgotten when they are pruned, so that no
    momentum of before moves them; weight decay still shrinks their master values.
    """

    dense_gradients: ClassVar[bool] = False

    def __call__(self, weights: Any, mask: Any, progress: Any) -> Any:
        """Returns `weights * mask`; both float tensors of one shape."""
        return weights * mask

    def correction(self, weights: Any, mask: Any) -> Any:
        """None: nothing beside the gradient of the forward pass."""
        return None
