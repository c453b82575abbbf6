"""Weights of a PyTorch network, given to a Keras model of the same layers."""

import keras
import numpy as np
from keras import layers


def port_weights(model: keras.Model, tensors: dict[str, np.ndarray]) -> None:
    """Assigns tensors to layers in order, and leave none over on either side.

    Args:
        model: convolutions, batch normalizations and dense layers, in the order
            in which they are computed.
        tensors: of the PyTorch network, in the same order.

    Raises:
        ValueError: the layers are not those of the network.
    """
    # PyTorch counts batches; Keras does not.
    values = [v for k, v in tensors.items() if not k.endswith("num_batches_tracked")]
    pairs = [(layer, weight) for layer in model.layers for weight in layer.weights]
    if len(pairs) != len(values):
        raise ValueError(
            f"model '{model.name}' has {len(pairs)} weights, the file {len(values)}"
        )
    for (layer, weight), value in zip(pairs, values, strict=True):
        value = _transposed(layer, value)
        if value.shape != tuple(weight.shape):
            raise ValueError(
                f"'{weight.path}' of model '{model.name}' has shape "
                f"{tuple(weight.shape)}, its tensor in the file {value.shape}"
            )
        weight.assign(value)


def _transposed(layer: layers.Layer, value: np.ndarray) -> np.ndarray:
    """Returns a tensor with its axes as Keras has them."""
    if value.ndim == 2:
        return value.T
    if value.ndim == 4 and isinstance(layer, layers.DepthwiseConv2D):
        return value.transpose(2, 3, 0, 1)
    return value.transpose(2, 3, 1, 0) if value.ndim == 4 else value
