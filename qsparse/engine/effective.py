"""The kernel that a compressed layer computes with, as a model is traced."""

from typing import Any

from keras import ops

from qsparse.keras_compat import tensor_of
from qsparse.methods.estimators import straight_through


def effective(layer: Any, kernel: Any) -> Any:
    """Returns the dense master pruned and rounded, in the recipe's order.

    Args:
        layer: the `KernelCompression` of the layer.
        kernel: the dense master, a tensor as Keras holds it.
    """
    if layer.state().recipe.order == "S->Q":
        return _quantized(layer, _pruned(layer, kernel))
    return _pruned(layer, _quantized(layer, kernel))


def _pruned(layer: Any, kernel: Any) -> Any:
    if layer.mask_variable is None:
        return kernel
    mask = ops.cast(layer.mask_variable, kernel.dtype)
    return layer.plan.estimator(kernel, mask, tensor_of(layer.state().progress))


def _quantized(layer: Any, kernel: Any) -> Any:
    format = layer.plan.weight_format
    on = False if format is None else layer.state().switch()
    if on is False:
        return kernel
    canonical = layer.layout.canonical_tensor(kernel)
    if layer.scales is not None:
        return layer.layout.kernel_tensor(layer.scales.fake(canonical, on))
    values = ops.stop_gradient(canonical)

    def fake() -> Any:
        return format.fake(values)

    rounded = fake() if on is True else ops.cond(on, fake, lambda: values)
    return straight_through(kernel, layer.layout.kernel_tensor(rounded))
