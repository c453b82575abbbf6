"""What flows into a layer, times its kernel as a matrix, is what the layer computes."""

import keras
import numpy as np
import pytest
from keras import layers

from qsparse.keras_compat import own_kernel
from qsparse.oneshot import patches
from qsparse.oneshot.patches import rows_of_inputs
from qsparse.planning.layouts import kernel_layout

IMAGE = (11, 9, 3)
CASES = {
    "dense": (layers.Dense(5), (6,)),
    "dense of tokens": (layers.Dense(5), (4, 6)),
    "einsum": (layers.EinsumDense("abc,cd->abd", (4, 5)), (4, 6)),
    "heads": (layers.EinsumDense("abc,cde->abde", (None, 2, 5)), (4, 6)),
    "heads back": (layers.EinsumDense("abcd,cde->abe", (None, 5)), (4, 2, 3)),
    "turned": (layers.EinsumDense("abcd,dce->abe", (None, 5)), (4, 2, 3)),
    "out first": (layers.EinsumDense("abcd,ecd->abe", (None, 5)), (4, 2, 3)),
    "ellipsis": (layers.EinsumDense("...x,xy->...y", 5), (6,)),
    "first of two": (layers.EinsumDense("abc,bd->acd", (6, 5)), (4, 6)),
    "summed": (layers.EinsumDense("abc,cd->ad", (5,)), (4, 6)),
    "conv": (layers.Conv2D(5, 3), IMAGE),
    "same": (layers.Conv2D(5, 3, padding="same"), IMAGE),
    "strides": (layers.Conv2D(5, (3, 2), strides=2, padding="same"), IMAGE),
    "uneven strides": (layers.Conv2D(5, 4, strides=(3, 2), padding="same"), IMAGE),
    "sparse steps": (layers.Conv2D(5, 1, strides=3), IMAGE),
    "dilation": (layers.Conv2D(5, 3, dilation_rate=(2, 3), padding="same"), IMAGE),
    "conv1d": (layers.Conv1D(5, 3, strides=2), (11, 4)),
    "causal": (layers.Conv1D(5, 3, padding="causal"), (11, 4)),
    "causal dilation": (layers.Conv1D(5, 3, padding="causal", dilation_rate=2), (9, 4)),
}


@pytest.mark.parametrize("piece", [1, 1 << 20], ids=["by samples", "whole"])
@pytest.mark.parametrize("name", CASES)
def test_rows_times_kernel_is_the_layer(name, piece, monkeypatch):
    monkeypatch.setattr(patches, "_PIECE", piece)
    template, shape = CASES[name]
    layer = type(template).from_config(template.get_config())
    x = np.random.default_rng(0).normal(size=(3, *shape)).astype("float32")
    expected = np.asarray(layer(x))
    layout = kernel_layout(layer)
    pieces = list(rows_of_inputs(layer, layout, x))
    assert len(pieces) == (1 if piece > 1 else len(pieces)) and pieces
    rows = np.concatenate(pieces)
    assert rows.dtype == np.float64
    kernel = layout.canonical(own_kernel(layer).numpy()).reshape(-1, layout.outputs)
    found = (rows @ kernel).reshape(expected.shape)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_bfloat16_inputs_count_as_they_are():
    layer = layers.Dense(2)
    layer.build((None, 3))
    x = keras.ops.cast(np.array([[0.1, -2.0, 3.0]]), "bfloat16")
    (rows,) = rows_of_inputs(layer, kernel_layout(layer), np.asarray(x))
    np.testing.assert_allclose(rows, [[0.1, -2.0, 3.0]], rtol=1e-2)
