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


def straight_through(inputs: Any, value: Any) -> Any:
    """Return `value` exactly, with the gradient of `inputs`.

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

    return forward(inputs, value)


@dataclass(frozen=True)
class Masked:
    """Pruned weights receive no gradient: once pruned, they keep their value."""

    def __call__(self, weights: Any, mask: Any, loss_scale: Any = 1.0) -> Any:
        """Return `weights * mask`; both float tensors of one shape."""
        return weights * mask


@dataclass(frozen=True)
class STE:
    """Straight-through: pruned weights keep learning and may come back."""

    def __call__(self, weights: Any, mask: Any, loss_scale: Any = 1.0) -> Any:
        """Return `weights * mask`; both float tensors of one shape."""
        return straight_through(weights, weights * mask)


@dataclass(frozen=True)
class SRSTE:
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
        if self.decay < 0:
            raise ValueError(f"SRSTE needs decay >= 0. Received: decay={self.decay}")

    def __call__(self, weights: Any, mask: Any, loss_scale: Any = 1.0) -> Any:
        """Return `weights * mask`.

        Args:
            weights: float tensor.
            mask: float tensor of the same shape, 1 where a weight is kept.
            loss_scale: what the loss is multiplied by in float16 training; the
                optimizer divides the whole gradient by it, the decay included.
        """

        @ops.custom_gradient
        def forward(weights: Any, mask: Any) -> Any:
            def backward(*args: Any, upstream: Any = None) -> Any:
                (upstream,) = args if upstream is None else (upstream,)
                pruned = (1.0 - mask) * weights
                scaled = self.decay * loss_scale * pruned
                return upstream + scaled, ops.zeros_like(mask)

            return weights * mask, backward

        return forward(weights, mask)


ESTIMATORS = Registry("estimator", {"masked": Masked, "ste": STE, "sr-ste": SRSTE})
