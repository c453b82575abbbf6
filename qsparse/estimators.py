"""Estimators: how the gradient meets the mask.

The forward pass is the same for all of them, `weights * mask`. They differ in
the gradient that reaches the dense master weights:

| estimator | dL/dw |
|---|---|
| `Masked`  | `upstream * mask` |
| `STE`     | `upstream` (straight through) |
| `SRSTE`   | `upstream + decay * (1 - mask) * w` (Zhou et al., ICLR 2021) |
"""

from dataclasses import dataclass
from typing import Any

from keras import ops

from qsparse.registry import Registry
from qsparse.validate import real


def straight_through(inputs: Any, value: Any) -> Any:
    """Return `value` exactly, with the gradient of `inputs`; none reaches `value`.

    The usual `inputs + stop_gradient(value - inputs)` rounds twice and so may
    miss `value` by one unit in the last place; this does not.

    Args:
        inputs: float tensor that receives the gradient.
        value: tensor of the same shape and dtype that is returned.
    """

    @ops.custom_gradient
    def forward(inputs: Any, value: Any) -> Any:
        def backward(*args: Any, upstream: Any = None) -> Any:
            (upstream,) = args if upstream is None else (upstream,)
            return upstream, ops.zeros_like(value)

        return value, backward

    return forward(inputs, ops.stop_gradient(value))


@dataclass(frozen=True)
class Masked:
    """Pruned weights receive no gradient.

    Momentum and weight decay may still move their master values a little.
    """

    def __call__(self, weights: Any, mask: Any) -> Any:
        """Return `weights * mask`; both float tensors of one shape."""
        return weights * mask

    def penalty(self, weights: Any, mask: Any) -> Any:
        """None: nothing beside the gradient of the forward pass."""
        return None


@dataclass(frozen=True)
class STE:
    """Straight-through: pruned weights keep learning and may come back."""

    def __call__(self, weights: Any, mask: Any) -> Any:
        """Return `weights * mask`; both float tensors of one shape."""
        return straight_through(weights, weights * mask)

    def penalty(self, weights: Any, mask: Any) -> Any:
        """None: nothing beside the gradient of the forward pass."""
        return None


@dataclass(frozen=True)
class SRSTE(STE):
    """Sparse-refined straight-through estimator.

    Pruned weights keep learning but decay towards zero, which keeps the mask
    from flipping back and forth. With Adam the decay is divided by the root of
    the second moment, like any other gradient.

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

    def penalty(self, weights: Any, mask: Any) -> Any:
        """Return a float32 scalar of value 0 whose gradient is the decay.

        As a regularization loss of the variable, the decay is applied once per
        step however often a layer is called, and is scaled like every other
        gradient in float16 and distributed training.
        """

        @ops.custom_gradient
        def nothing(weights: Any, pruned: Any) -> Any:
            def backward(*args: Any, upstream: Any = None) -> Any:
                (upstream,) = args if upstream is None else (upstream,)
                rate = ops.cast(self.decay * upstream, pruned.dtype)
                return rate * pruned, ops.zeros_like(pruned)

            return ops.zeros((), "float32"), backward

        # What the mask takes away; the product is the one of the forward pass.
        return nothing(weights, ops.stop_gradient(weights - weights * mask))


ESTIMATORS = Registry("estimator", {"masked": Masked, "ste": STE, "sr-ste": SRSTE})
