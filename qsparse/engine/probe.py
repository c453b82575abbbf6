"""The probe: how large what the weights of a layer are multiplied by is."""

from typing import Any

import keras
from keras import ops

from qsparse.planning.layouts import weighted_sums


class Probe:
    """Finds out how large what the weights of a layer are multiplied by is.

    A layer's sum of products is linear in its kernel: the derivative of its sum by a
    weight is the sum of what that weight is multiplied by, whatever the layer makes of
    strides, borders and axes. With the squares of the inputs in the place of the inputs
    it is their sum of squares. One output is enough, as every output meets the same.

    Args:
        weights: zeros of the kernel's shape with one output, float32, which a gradient
            is taken by; it has the sums of squares in it.
    """

    def __init__(self, weights: Any) -> None:
        self._weights = weights
        self.total: Any = 0.0

    def see(self, layer: keras.layers.Layer, inputs: Any) -> None:
        """Adds a call of a layer; `total` is 0, with the gradient."""
        squares = ops.square(ops.cast(ops.stop_gradient(inputs), "float32"))
        products = weighted_sums(layer, squares, self._weights)
        self.total = self.total + ops.sum(products)
