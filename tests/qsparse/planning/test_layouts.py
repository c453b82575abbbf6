"""Kernels to canonical form and back, for every layer that has one."""

import keras
import numpy as np
import pytest
from keras import layers

from qsparse.planning.layouts import kernel_layout

CASES = [
    (layers.Dense(6), (2, 5), (1, 5, 6), (6, 5), (0,)),
    (layers.Conv1D(6, 3), (2, 9, 4), (3, 4, 6), (6, 1, 3, 4), (0, 1)),
    (layers.Conv2D(6, (3, 2)), (2, 9, 9, 4), (6, 4, 6), (6, 3, 2, 4), (0, 1, 2)),
    (
        layers.DepthwiseConv2D((3, 2), depth_multiplier=2),
        (2, 9, 9, 4),
        (6, 1, 8),
        (1, 3, 2, 8),
        (0, 1),
    ),
    (
        layers.EinsumDense("abc,cde->abde", (7, 3, 4)),
        (2, 7, 5),
        (1, 5, 12),
        (12, 5),
        (0,),
    ),
    (
        layers.EinsumDense("abcd,cde->abe", (7, 5)),
        (2, 7, 3, 4),
        (1, 12, 5),
        (5, 12),
        (0, 1),
    ),
    (layers.EinsumDense("...x,xy->...y", 6), (2, 5), (1, 5, 6), (6, 5), (0,)),
]


@pytest.mark.parametrize(("layer", "inputs", "canonical", "litert", "axes"), CASES)
def test_layout(layer, inputs, canonical, litert, axes):
    layer = type(layer).from_config(layer.get_config())
    layer.build(inputs)
    layout = kernel_layout(layer)
    kernel = layer.kernel.numpy()
    assert layout.canonical_shape == canonical
    assert layout.litert_shape == litert
    in_canonical_form = layout.canonical(kernel)
    np.testing.assert_array_equal(layout.kernel(in_canonical_form), kernel)
    traced = layout.canonical_tensor(layer.kernel)
    np.testing.assert_array_equal(traced, in_canonical_form)
    np.testing.assert_array_equal(layout.kernel_tensor(traced), kernel)
    # One scale per output channel, however the kernel is laid out.
    per_channel = np.abs(kernel).max(axis=axes).reshape(-1)
    np.testing.assert_array_equal(
        per_channel, np.abs(in_canonical_form).max(axis=(0, 1))
    )
    assert layout.litert(in_canonical_form).shape == litert


def test_canonical_conv_computes_the_convolution(images):
    """The canonical form means what it says: taps, inputs, outputs."""
    x = images[0][:2]
    layer = layers.Conv2D(5, 3)
    expected = keras.ops.convert_to_numpy(layer(x))
    layout = kernel_layout(layer)
    kernel = layout.canonical(layer.kernel.numpy())
    patches = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))
    actual = np.einsum("nhwctu,tuco->nhwo", patches, kernel.reshape(3, 3, 1, 5))
    np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_a_batch_of_kernels_has_no_layout():
    layer = layers.EinsumDense("abc,bcd->abd", (3, 5))
    layer.build((2, 3, 4))
    assert kernel_layout(layer) is None
    assert kernel_layout(layers.LayerNormalization()) is None
