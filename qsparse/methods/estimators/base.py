"""What an estimator is, and the gradients they are made of."""

from typing import Any, Protocol

from keras import ops

from qsparse.methods.registry import Registry
from qsparse.methods.validate import real, whole


class Estimator(Protocol):
    """What the compressor asks of an estimator.

    Both methods are traced; they use `keras.ops` only. One that hides the gradients of
    pruned weights says so with `dense_gradients = False`, and one that computes
    with pruned weights before the end with `dense_until_the_end = True`.
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

    # Optional:
    #
    # def settle(self, weights, mask, rate, spread, step):
    #     """Returns what the dense weights become after each step of the optimizer.
    #
    #     Args:
    #         weights: float tensor, the dense weights after the step.
    #         mask: of its shape and dtype: 1 where kept, 0 where pruned.
    #         rate: scalar, the learning rate.
    #         spread: what Adam and its kin divide a gradient by, of the shape of
    #             `weights`; 1 with other optimizers.
    #         step: float scalar, the steps that the optimizer has made before.
    #     """


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


def settles(estimator: Any) -> bool:
    """Returns whether an estimator changes weights after the optimizer's steps."""
    return hasattr(estimator, "settle")


def dense_until_the_end(weights: Any, mask: Any, progress: Any) -> Any:
    """Returns all weights before progress 1, and `weights * mask` from there on.

    The gradient passes straight through.
    """
    over = ops.cast(progress >= 1.0, weights.dtype)
    return straight_through(weights, weights * ops.maximum(mask, 1.0 - over))


def ramp(value: float, steps: int, step: Any) -> Any:
    """Returns what has grown linearly from 0 to `value` over so many steps."""
    return value * ops.minimum((step + 1.0) / steps, 1.0) if steps else value


def check_decay(estimator: Any) -> None:
    """Makes `decay` a float and `steps` an int.

    Raises:
        ValueError: if one is negative, or no number.
    """
    object.__setattr__(estimator, "decay", real("decay", estimator.decay))
    object.__setattr__(estimator, "steps", whole("steps", estimator.steps))
    if estimator.decay < 0 or estimator.steps < 0:
        raise ValueError(
            f"{type(estimator).__name__} needs decay >= 0 and steps >= 0. Received: "
            f"decay={estimator.decay}, steps={estimator.steps}"
        )
