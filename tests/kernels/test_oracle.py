"""The delegate against arithmetic written out in numpy, without any runtime."""

import numpy as np
import pytest

from benchmarks import one_op_models
from benchmarks.sparse_weights import sparse_weights

from . import runner


def patches(model, x):
    """Every output position's inputs, [rows, taps x channels], zero point removed."""
    x = x.astype(np.int64) - model.input_zero_point
    if model.weights.ndim == 2:
        return x.reshape(-1, model.weights.shape[1])
    _, kh, kw, channels = model.weights.shape
    if model.padding == "same":
        pads = [(0, 0)]
        for size, kernel in zip(x.shape[1:3], (kh, kw), strict=True):
            out = -(-size // model.stride)
            total = max((out - 1) * model.stride + kernel - size, 0)
            pads.append((total // 2, total - total // 2))
        x = np.pad(x, [*pads, (0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(x, (kh, kw), axis=(1, 2))
    windows = windows[:, :: model.stride, :: model.stride]
    return windows.transpose(0, 1, 2, 4, 5, 3).reshape(-1, kh * kw * channels)


def reference(model, x):
    """Integer sums, then one rounding in single precision."""
    outputs = model.weights.shape[0]
    weights = model.weights.reshape(outputs, -1).astype(np.int64)
    sums = patches(model, x) @ weights.T + model.bias
    scales = model.input_scale * model.weight_scales / model.output_scale
    assert scales.dtype == np.float32
    scaled = np.rint(sums.astype(np.float32) * scales).astype(np.int64)
    low, high = -128, 127
    if model.activation is not None:
        limits = {"relu": (0, np.inf), "relu6": (0, 6), "relu_n1_to_1": (-1, 1)}
        steps = np.asarray(limits[model.activation]) / model.output_scale
        low, high = np.clip(np.rint(steps + model.output_zero_point), -128, 127)
    return np.clip(scaled + model.output_zero_point, low, high).astype(np.int8)


@pytest.mark.parametrize("isa", runner.ISAS)
@pytest.mark.parametrize("activation", [None, "relu", "relu6", "relu_n1_to_1"])
def test_fully_connected(isa, activation):
    weights = sparse_weights((50, 70), "4x4", 0.4)
    model = one_op_models.fully_connected_model(weights, 45, activation=activation)
    x = model.input()
    actual = runner.invoke(runner.interpreter(model, isa=isa, min_gain="0"), x)
    np.testing.assert_array_equal(actual, reference(model, x))


@pytest.mark.parametrize("isa", runner.ISAS)
@pytest.mark.parametrize(
    ("stride", "padding"), [(1, "same"), (2, "same"), (2, "valid")]
)
def test_conv2d(isa, stride, padding):
    weights = sparse_weights((24, 3, 3, 36), "4x4", 0.4)
    model = one_op_models.conv2d_model(
        weights, 12, 13, batch=2, stride=stride, padding=padding
    )
    x = model.input()
    actual = runner.invoke(runner.interpreter(model, isa=isa, min_gain="0"), x)
    np.testing.assert_array_equal(actual.reshape(-1, 24), reference(model, x))
