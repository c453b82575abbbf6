"""Decaying masks: pruned weights fade out over the pruning phase."""

from dataclasses import dataclass
from typing import Any, ClassVar

from keras import ops

from qsparse.methods.estimators.base import ESTIMATORS, straight_through
from qsparse.methods.validate import real

_DECAYS = ("linear", "exponential")


@ESTIMATORS.register("decaying-mask")
@dataclass(frozen=True)
class DecayingMask:
    """Pruned weights count by a factor that falls from 1 to 0 while pruning goes on.

    `weights * (mask + (1 - mask) * factor)`, with `factor = max(0, 1 - rate * t)`
    ("linear") or `exp(-rate * t)` ("exponential") at the share `t` of the pruning
    phase: MdGf of Bambhaniya et al., "Progressive gradient flow for robust N:M
    sparsity training in transformers", 2024. There `t` counts steps. At the end of the
    phase the factor is 0 whatever the decay: a file holds nothing but the mask. It
    goes with `schedule="constant"`: masks of the final sparsity from the first step.

    Args:
        decay: "linear" or "exponential".
        rate: how fast the factor falls, above 0; None takes 1 for "linear", which
            ends with the phase, and 5 for "exponential", which ends at 0.7%.
        scaled: whether the gradient of a pruned weight is scaled by the factor, too.
            False passes it straight through, as the paper's code does; its text says
            that the flow of gradients is restricted.

    Raises:
        ValueError: if `decay` is neither, or `rate` is not positive.
    """

    dense_until_the_end: ClassVar[bool] = True

    decay: str = "linear"
    rate: float | None = None
    scaled: bool = False

    def __post_init__(self) -> None:
        if self.decay not in _DECAYS:
            raise ValueError(
                f"`decay` must be one of {_DECAYS}. Received: decay={self.decay!r}"
            )
        if self.rate is None:
            object.__setattr__(self, "rate", 1.0 if self.decay == "linear" else 5.0)
        object.__setattr__(self, "rate", real("rate", self.rate))
        if self.rate is None or self.rate <= 0:
            raise ValueError(f"`rate` must be positive. Received: rate={self.rate}")

    def __call__(self, weights: Any, mask: Any, progress: Any) -> Any:
        """Returns the faded weights; see `Estimator`."""
        progress = ops.cast(progress, "float32")
        rate: Any = self.rate
        if self.decay == "linear":
            factor = ops.maximum(1.0 - rate * progress, 0.0)
        else:
            factor = ops.exp(-rate * progress)
        factor = ops.cast(ops.where(progress < 1.0, factor, 0.0), weights.dtype)
        faded = weights * (mask + (1.0 - mask) * factor)
        return faded if self.scaled else straight_through(weights, faded)

    def correction(self, weights: Any, mask: Any) -> Any:
        """None: nothing beside the gradient of the forward pass."""
        return None
