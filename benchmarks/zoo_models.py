"""The zoo: one model of each family of keras.applications and of keras-hub.

All have random weights and are as small as their family allows.
"""

import inspect
from collections.abc import Callable
from typing import Any

import keras
import keras_hub
import numpy as np
from keras import layers

from benchmarks.material import CLASSES, images, pictures, tokens
from benchmarks.sites import compiled
from benchmarks.trial import Case
from benchmarks.zoo_configs import APPLICATIONS, BACKBONES, LEFT_OUT

TOKENS = 16
VOCABULARY = 256
# Statistics must settle within the three steps of a trial.
_STATISTICS_MOMENTUM = 0.5
# Of outputs with names, the first of these is trained on; else the last there is.
_OUTPUTS = ("pooled_output", "sequence_output", "decoder_sequence_output")


def application_families() -> dict[str, list[str]]:
    """Returns the module of each family of keras.applications -> its functions."""
    found: dict[str, list[str]] = {}
    for name, function in sorted(vars(keras.applications).items()):
        if inspect.isfunction(function):
            family = function.__module__.rsplit(".", 1)[-1]
            found.setdefault(family, []).append(name)
    return found


def backbone_families() -> dict[str, list[str]]:
    """Returns the folder of each family of keras-hub -> its backbones.

    Base classes, which lie in no folder of a family, are left out.
    """
    found: dict[str, list[str]] = {}
    for name, cls in sorted(vars(keras_hub.models).items()):
        if name.endswith("Backbone"):
            path = cls.__module__.removeprefix("keras_hub.src.models.").split(".")
            if len(path) > 1:
                found.setdefault(path[0], []).append(name)
    return found


def unknown_families() -> list[str]:
    """Returns the families of the installed packages that have no entry here."""
    known = {*APPLICATIONS, *BACKBONES, *LEFT_OUT}
    every = application_families() | backbone_families()
    return sorted(family for family, names in every.items() if not known & {*names})


def names() -> list[str]:
    """Returns the models of the zoo, keras.applications first."""
    return [*sorted(APPLICATIONS), *sorted(BACKBONES)]


def case_of(name: str) -> Case:
    """Returns a model with a head, and what to train it on."""
    if name in APPLICATIONS:
        return _application(name)
    return _with_head(BACKBONES[name]())


def _application(name: str) -> Case:
    shape, settings = APPLICATIONS[name]
    model = getattr(keras.applications, name)(
        weights=None,
        input_shape=shape,
        classes=CLASSES,
        classifier_activation=None,
        **settings,
    )
    _settle(model)
    data = {model.inputs[0].name: pictures(shape)}
    return Case(compiled(model), data, images()[1])


def _with_head(backbone: keras.Model) -> Case:
    outputs: Any = backbone.output
    if isinstance(outputs, dict):
        key = next((key for key in _OUTPUTS if key in outputs), list(outputs)[-1])
        outputs = outputs[key]
    elif isinstance(outputs, list | tuple):
        outputs = outputs[-1]
    pool: dict[int, Callable[[], layers.Layer]] = {
        3: layers.GlobalAveragePooling1D,
        4: layers.GlobalAveragePooling2D,
        5: layers.GlobalAveragePooling3D,
    }
    rank = len(outputs.shape)
    x = pool[rank]()(outputs) if rank in pool else outputs
    model = keras.Model(backbone.input, layers.Dense(CLASSES, name="classifier")(x))
    _settle(model)
    declared = backbone.input
    named = (
        declared if isinstance(declared, dict) else {t.name: t for t in model.inputs}
    )
    data = {name: _data(name, tensor) for name, tensor in named.items()}
    ids = any("token_ids" in name for name in named)
    labels = tokens(TOKENS)[1] if ids else images()[1]
    return Case(compiled(model), data, labels)


def _data(name: str, tensor: Any) -> np.ndarray:
    """Returns samples for an input, by its name and shape."""
    shape = [length or TOKENS for length in tensor.shape[1:]]
    if "token_ids" in name:
        return tokens(shape[-1], VOCABULARY)[0]
    if "mask" in name:
        mask = np.ones((len(images()[0]), *shape), tensor.dtype)
        mask[::4, -TOKENS // 4 :] = 0
        return mask
    if "segment" in name:
        segments = np.zeros((len(images()[0]), *shape), tensor.dtype)
        segments[:, TOKENS // 2 :] = 1
        return segments
    if len(shape) == 3:
        return pictures((shape[0], shape[1], shape[2]), highest=1.0)
    if shape[-1] == 1:  # a wave
        return pictures((64, 64, 1), highest=1.0).reshape(len(images()[0]), -1, 1)
    if len(shape) == 2:  # frames of features
        return pictures((shape[0], shape[1], 1), highest=1.0)[..., 0]
    raise ValueError(f"the zoo has no data for input {name!r} of shape {shape}")


def _settle(model: keras.Model) -> None:
    for layer in model._flatten_layers():
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = _STATISTICS_MOMENTUM
