"""A small residual network whose layers are wide enough for sparse kernels."""

from typing import Any

import keras
from keras import layers


def resnet(
    input_shape: tuple[int, int, int] = (28, 28, 1),
    classes: int = 10,
    widths: tuple[int, ...] = (96, 192),
) -> keras.Model:
    """Returns an untrained ResNet (He et al., 2016) that outputs logits.

    A stem of stride 2, then one residual unit of two 3x3 convolutions per
    width; every unit but the first halves the image.

    Args:
        input_shape: `(height, width, channels)` of the images.
        classes: number of logits.
        widths: channels of each unit. The stem has half those of the first.
    """
    inputs = keras.Input(input_shape, name="images")
    x = _convolve(inputs, widths[0] // 2, 3, stride=2, name="stem")
    x = layers.ReLU(name="stem_relu")(x)
    for index, width in enumerate(widths):
        x = _unit(x, width, stride=1 if index == 0 else 2, name=f"unit{index + 1}")
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, layers.Dense(classes, name="logits")(x), name="resnet")


def _convolve(x: Any, filters: int, size: int, stride: int, name: str) -> Any:
    x = layers.Conv2D(
        filters, size, strides=stride, padding="same", use_bias=False, name=name
    )(x)
    # The default momentum, 0.99, is too slow for a training of a few hundred steps.
    return layers.BatchNormalization(momentum=0.9, name=f"{name}_bn")(x)


def _unit(x: Any, width: int, stride: int, name: str) -> Any:
    shortcut = x
    if stride != 1 or x.shape[-1] != width:
        shortcut = _convolve(x, width, 1, stride, f"{name}_shortcut")
    x = _convolve(x, width, 3, stride, f"{name}_conv1")
    x = layers.ReLU(name=f"{name}_relu1")(x)
    x = _convolve(x, width, 3, 1, f"{name}_conv2")
    x = layers.Add(name=f"{name}_add")([x, shortcut])
    return layers.ReLU(name=f"{name}_relu2")(x)
