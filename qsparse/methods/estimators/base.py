"""What an estimator is, and the gradients they are made of."""

from typing import Any, Protocol

from keras import ops

from qsparse.methods.registry import Registry


class Estimator(Protocol):
    """What the compressor asks of an estimator.

    Both methods are traced; they use `keras.ops` only. One that hides the gradients of
    pruned weights says so with an attribute `dense_gradients = False`.
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
