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
from typing import Any, Protocol

from keras import ops

from qsparse.methods.registry import Registry
from qsparse.methods.validate import real


class Estimator(Protocol):
    """What the compressor asks of an estimator.

    Both methods are traced; they use `keras.ops` only.
    """

    def __call__(self, weights: Any, mask: Any, progress: Any) -> Any:
        """Returns the weights that the layer computes with.

        Args:
            weights: float tensor, the dense weights.
            mask: of its shape and dtype: 1 where kept, 0 where pruned.
            progress: float32 scalar: how much of the pruning phase was over at the
                last selection of masks, in [0, 1]; 1 from its end on.

        Returns:
            Tensor of the shape and dtype of `weights`. At progress 1 it has to be
            `weights * mask`: that is what files hold.
        """

    def correction(self, weights: Any, mask: Any) -> Any:
        """Returns what is added to the gradient of the dense weights, or None.

        It is added once per step, however often a layer is called.

        Args:
            weights: float tensor, the dense weights.
            mask: of its shape and dtype: 1 where kept, 0 where pruned.
        """


ESTIMATORS = Registry("estimator", ("__call__", "correction"))


def straight_through(inputs: Any, value: Any) -> Any:
    """Returns `value` exactly, with the gradient of `inputs`; none reaches `value`.

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


def nothing_with_gradient(inputs: Any, gradient: Any) -> Any:
    """Returns a float32 scalar 0 whose gradient with respect to `inputs` is given.

    As a regularization loss it adds to a variable's gradient, scaled as every other
    gradient in float16 and in distributed training.

    Args:
        inputs: float tensor that receives the gradient.
        gradient: tensor of the same shape and dtype.
    """

    @ops.custom_gradient
    def nothing(inputs: Any, gradient: Any) -> Any:
        def backward(*args: Any, upstream: Any = None) -> Any:
            (upstream,) = args if upstream is None else (upstream,)
            scale = ops.cast(upstream, gradient.dtype)
            return scale * gradient, ops.zeros_like(gradient)

        return ops.zeros((), "float32"), backward

    return nothing(inputs, ops.stop_gradient(gradient))


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
