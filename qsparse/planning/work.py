"""Work: how many multiply-accumulates a layer costs."""

import math
from typing import Any

from keras import layers

from qsparse.planning.layouts import KernelLayout


def count_macs(layer: layers.Layer, layout: KernelLayout | None) -> int | None:
    """Returns the multiply-accumulates of a layer's kernel for one sample.

    Args:
        layer: a built layer.
        layout: how its kernel lies in memory; None gives None.

    Returns:
        Kernel size times the positions it is applied at. A dimension that the model
        leaves open, as a length of text, counts once. None where the layer does not
        know its shapes.
    """
    if layout is None:
        return None
    shape = (layer.get_build_config() or {}).get("input_shape")
    if shape is None:
        return None
    output: Any = layer.compute_output_shape(tuple(shape))
    elements = math.prod(length or 1 for length in output[1:])
    return math.prod(layout.shape) * max(elements // layout.outputs, 1)
