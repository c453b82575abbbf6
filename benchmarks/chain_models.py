"""Writes stacks of fully connected layers as one serial int8 .tflite file."""

from collections.abc import Sequence

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from benchmarks.one_op_models import ACTIVATIONS, Writer, correlated_input

_INPUT_SCALE = 0.05
_INPUT_ZERO_POINT = 3
# Steps of deviation before the ReLU: a few values in a thousand saturate.
_HIDDEN_DEVIATION = 70.0
_OUTPUT_DEVIATION = 40.0


def chain_model(weights: Sequence[np.ndarray], m: int) -> bytes:
    """Returns a file of FULLY_CONNECTED layers with ReLU, the last one without.

    The scales come from running the stack on `correlated_input`, layer by layer, so
    that no intermediate result collapses or saturates: an exactness check on the
    output then says something about every layer.

    Args:
        weights: int8 `(outputs, inputs)` of each layer.
        m: rows of the input.
    """
    rng = np.random.default_rng(1)
    writer = Writer((m, weights[0].shape[1]), _INPUT_SCALE, _INPUT_ZERO_POINT)
    values = correlated_input((m, weights[0].shape[1])).astype(np.float32)
    source, scale, zero_point = 0, _INPUT_SCALE, _INPUT_ZERO_POINT
    for index, kernel in enumerate(weights):
        last = index == len(weights) - 1
        kernel_scales = rng.uniform(0.005, 0.02, len(kernel)).astype(np.float32)
        step = np.float32(scale) * kernel_scales
        sums = (values - zero_point) @ kernel.T.astype(np.float32)
        real = sums * step
        bias = np.rint(-np.median(real, axis=0) / step).astype(np.int32)
        real = real + bias * step
        scale = float(real.std() / (_OUTPUT_DEVIATION if last else _HIDDEN_DEVIATION))
        zero_point = -5 if last else -128
        options = schema.FullyConnectedOptionsT()
        options.fusedActivationFunction = ACTIVATIONS[None if last else "relu"]
        source = writer.add_layer(
            source,
            kernel,
            kernel_scales,
            bias,
            (m, len(kernel)),
            scale,
            zero_point,
            options,
        )
        real = real if last else np.maximum(real, 0)
        values = np.clip(np.rint(real / scale) + zero_point, -128, 127)
    return writer.finish([source])
