"""Puts zeros into the int8 weights of a file, to ask how fast it would be with them."""

import math
from collections import Counter
from collections.abc import Callable, Collection

import numpy as np

from qsparse.tflite_export.files.model_file import ModelFile
from qsparse.tflite_export.files.model_parts import CLAIMABLE, Op, Tensor

# Sizes of the weights (outputs, taps, inputs) -> which are kept, or None for all.
Mask = Callable[[np.ndarray], np.ndarray | None]


def prune_file(
    content: bytes, mask: Mask, nodes: Collection[int] | None = None
) -> bytes:
    """Returns a file whose int8 layers have zeros, and answers of no worth.

    Its zeros are those of the mask alone: a weight that is kept and zero becomes 1.
    What is left of a layer is scaled up, scales and bias with it, so that activations
    keep their variance: a network of constants would be no fair measurement.

    Args:
        content: a .tflite file.
        mask: what to keep of a layer; called with the sizes of its weights, float32
            `(outputs, taps, inputs)`.
        nodes: indices of the ops to prune; None: all convolutions and fully connected
            layers in int8. Depthwise ones are never pruned, nor those that share
            weights or biases with others.
    """
    file = ModelFile(content)
    readers = Counter(
        tensor.index for op in file.ops for tensor in op.inputs if tensor is not None
    )
    for op, weights in file.int8_layers():
        chosen = nodes is None or op.index in nodes
        own = all(readers[t.index] == 1 for t in op.inputs[1:] if t is not None)
        if op.name in CLAIMABLE and chosen and own:
            _prune(file, op, weights, mask)
    return file.to_bytes()


def _prune(file: ModelFile, op: Op, weights: Tensor, mask: Mask) -> None:
    outputs, *taps, inputs = weights.shape
    file.own_buffer(weights)
    values = weights.data.reshape(outputs, math.prod(taps), inputs)
    kept = mask(np.abs(values.astype(np.float32)))
    if kept is None:
        return
    values[values == 0] = 1
    before = np.square(values, dtype=np.float64).sum()
    values[~kept] = 0
    gain = math.sqrt(before / max(np.square(values, dtype=np.float64).sum(), 1.0))
    file.set_scales(weights, weights.scales * gain)
    bias = op.inputs[2] if len(op.inputs) > 2 else None
    if bias is not None and bias.data is not None and bias.scales.size:
        file.own_buffer(bias)
        bias.data[...] = np.rint(bias.data / gain)
        file.set_scales(bias, bias.scales * gain)
