"""Targets: which layers a recipe can compress, and why it leaves the others."""

import math
from typing import Any

import keras
from keras import layers

from qsparse.keras_compat import (
    held_beside,
    output_layers,
    own_kernel,
    walk_layers,
    weights_of_its_own,
)
from qsparse.planning.layouts import kernel_layout
from qsparse.planning.recipe import Recipe
from qsparse.planning.rulebook import Rulebook

PRUNABLE = (layers.Dense, layers.EinsumDense, layers.Conv1D, layers.Conv2D)
QUANTIZABLE = (*PRUNABLE, layers.DepthwiseConv2D)
# Layers without a kernel that compute in int8 and so need quantized inputs.
INT8_JOINS = (
    layers.Add,
    layers.Concatenate,
    layers.AveragePooling1D,
    layers.AveragePooling2D,
    layers.GlobalAveragePooling1D,
    layers.GlobalAveragePooling2D,
)
# They compute something else in training than in the exported file.
NORMS = (layers.BatchNormalization,)
# LiteRT gives the outputs of these activations ranges of its own.
_FIXED = ("softmax", "log_softmax", "sigmoid", "tanh")
# What a subclass may not change: the mask lies on the kernel that Keras multiplies by.
_USES_OF_THE_KERNEL = ("call", "kernel", "convolution_op")
_NO_MATRICES = ("bias", "beta", "gamma")
# Rows that are looked up, and weights that meet one input each: nothing to prune.
NO_PRODUCTS = (
    layers.Embedding,
    layers.DepthwiseConv1D,
    layers.DepthwiseConv2D,
    layers.PReLU,
)


def weight_matrices(layer: layers.Layer) -> list[keras.Variable]:
    """Returns the weights of a layer that count: what is not a vector, bias or norm.

    By variables, not classes: a recurrent cell has two, a separable convolution too,
    and a layer that nobody here knows may have any number. What a recipe trains beside
    them, in layers that say so by `trains_ranges`, is none of the model's weights.
    """
    if getattr(layer, "trains_ranges", False):
        return []
    return [
        variable
        for variable in weights_of_its_own(layer)
        if len(variable.shape) > 1 and variable.name not in _NO_MATRICES
    ]


class Survey:
    """What a recipe makes of each layer of a model, and why.

    Args:
        model: a built model, compressed or not.
        recipe: the recipe.

    Attributes:
        layers: `(path, layer)` of every layer, depth first, each once.
        rulebook: what the recipe says of each.
    """

    def __init__(self, model: keras.Model, recipe: Recipe) -> None:
        self.layers = walk_layers(model)
        self._model = model
        self._recipe = recipe
        self.rulebook = Rulebook(model, recipe, self.layers)
        self._leaving = {id(layer) for layer in output_layers(model)}
        # Why whole parts of the model are left alone: layer -> reason.
        self._apart: dict[int, str] = {}
        for path, layer in [(model.name, model), *self.layers]:
            if isinstance(layer, layers.RNN):
                self._leave_alone(layer, f"it runs in the loop of '{path}'")
            elif isinstance(layer, keras.Model) and not recipe.prune_frozen:
                for part in held_beside(layer):
                    if not part.trainable:
                        self._leave_alone(part, f"part of frozen model '{part.name}'")

    def _leave_alone(self, parent: layers.Layer, reason: str) -> None:
        for _, layer in walk_layers(parent):
            self._apart.setdefault(id(layer), reason)

    def matrices(self) -> list[tuple[str, layers.Layer, keras.Variable]]:
        """Returns `(path, layer, weights)` of all weights that count, each once.

        Of several layers that hold one variable, as a wrapper may, it is the one
        that can be compressed.
        """
        found: dict[int, tuple[str, layers.Layer, keras.Variable]] = {}
        for path, layer in [(self._model.name, self._model), *self.layers]:
            for variable in weight_matrices(layer):
                _, owner, _ = found.get(id(variable), (path, None, variable))
                better = isinstance(layer, QUANTIZABLE) > isinstance(owner, QUANTIZABLE)
                if owner is None or better:
                    found[id(variable)] = path, layer, variable
        return list(found.values())

    def why_untouched(self, layer: layers.Layer) -> str | None:
        """Returns why a layer can be neither pruned nor quantized, or None."""
        apart = self._apart.get(id(layer))
        if apart is not None or not isinstance(layer, QUANTIZABLE):
            return apart
        changed = changed_by_keras(layer)
        if changed is not None:
            return f"it {changed}"
        own = _own_code(layer)
        if own is not None:
            return own
        if kernel_layout(layer) is None:
            return "its kernel has no single reduction axis"
        return None

    def why_not_pruned(self, path: str, layer: layers.Layer) -> str | None:
        """Returns why a pattern is not laid on a layer, or None."""
        settings = self.rulebook.settings(path)
        if not self._recipe.prunes:
            return settings.dense
        if settings.left_alone or settings.dense:
            return settings.left_alone or settings.dense
        reason = self.why_untouched(layer)
        if reason is not None:
            return reason
        if not isinstance(layer, PRUNABLE):
            return f"{type(layer).__name__} is not pruned"
        if getattr(layer, "groups", 1) != 1:
            return f"groups={layer.groups}: only convolutions with groups=1 are pruned"
        if not self._recipe.prune_frozen:
            reason = why_frozen(layer)
            if reason is not None:
                return reason
        layout: Any = kernel_layout(layer)
        return settings.pattern.misfit(layout.canonical_shape)

    def leaves(self, layer: layers.Layer) -> bool:
        """Returns whether a layer's output leaves the model and needs its own range."""
        activation = getattr(getattr(layer, "activation", None), "__name__", "")
        # Averages keep the scale of what they average, and a sum of columns in one
        # range may spoil the small ones: these are calibrated, as ever.
        shaped = isinstance(layer, (*QUANTIZABLE, layers.Add))
        return id(layer) in self._leaving and shaped and activation not in _FIXED


def changed_by_keras(layer: keras.layers.Layer) -> str | None:
    """Returns what Keras did to a layer that keeps its kernel from being used."""
    if getattr(layer, "quantization_mode", None) is not None:
        return f"was quantized by Keras ({layer.quantization_mode})"
    if getattr(layer, "lora_enabled", False):
        return "has LoRA enabled"
    return None


def why_frozen(layer: layers.Layer) -> str | None:
    """Returns why a layer's kernel does not train, or None if it does.

    Pruned weights that do not train would never make up for what they lose.
    """
    if not layer.trainable:
        return "frozen: trainable=False"
    kernel = own_kernel(layer)
    if kernel is not None and not kernel.trainable:
        return "frozen: its kernel has trainable=False"
    return None


def _own_code(layer: layers.Layer) -> str | None:
    """Returns how a subclass may use its kernel in a way that Keras does not."""
    kernel = own_kernel(layer)
    if kernel is None or math.prod(kernel.shape) == 0:
        return "it has no kernel"
    cls = getattr(type(layer), "original_class", type(layer))
    for base in cls.__mro__:
        if base.__module__.partition(".")[0] == "keras":
            break
        own = [name for name in _USES_OF_THE_KERNEL if name in vars(base)]
        if own:
            return f"{base.__name__} has its own `{own[0]}`, which may need the kernel"
    return None
