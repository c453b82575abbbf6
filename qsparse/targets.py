"""Targets: which layers a recipe compresses, and why it leaves the others."""

import math
from typing import Any, NamedTuple

import keras
from keras import layers

from qsparse.keras_compat import (
    held_beside,
    output_layers,
    own_kernel,
    walk_layers,
    weights_of_its_own,
)
from qsparse.kernel import changed_by_keras
from qsparse.layouts import kernel_layout
from qsparse.recipe import Recipe, matches

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
_NO_PRODUCTS = (
    layers.Embedding,
    layers.DepthwiseConv1D,
    layers.DepthwiseConv2D,
    layers.PReLU,
)


class Target(NamedTuple):
    """A layer to compress.

    Attributes:
        path: where it lies in the model.
        layer: the layer.
        pattern: the pattern of its mask; None where it is only quantized.
        leaves: whether its output leaves the model and needs a range of its own.
    """

    path: str
    layer: layers.Layer
    pattern: Any
    leaves: bool


def weight_matrices(layer: layers.Layer) -> list[keras.Variable]:
    """Return the weights of a layer that count: what is not a vector, bias or norm.

    By variables, not classes: a recurrent cell has two, a separable convolution too,
    and a layer that nobody here knows may have any number.
    """
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
    """

    def __init__(self, model: keras.Model, recipe: Recipe) -> None:
        self.layers = walk_layers(model)
        self._model = model
        self._recipe = recipe
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
        """Return `(path, layer, weights)` of all weights that count, each once.

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
        """Return why a layer can be neither pruned nor quantized, or None."""
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
        """Return why the recipe's pattern is not laid on a layer, or None."""
        recipe = self._recipe
        if recipe.pattern is None:
            return "the recipe prunes nothing"
        if recipe.excludes(path):
            return "excluded by the recipe"
        reason = self.why_untouched(layer)
        if reason is not None:
            return reason
        if not isinstance(layer, PRUNABLE):
            return f"{type(layer).__name__} is not pruned"
        if getattr(layer, "groups", 1) != 1:
            return f"groups={layer.groups}: only convolutions with groups=1 are pruned"
        if not recipe.prune_frozen:
            reason = _why_frozen(layer)
            if reason is not None:
                return reason
        layout: Any = kernel_layout(layer)
        return recipe.pattern.misfit(layout.canonical_shape)

    def targets(self) -> list[Target]:
        """Return the layers to compress; those whose kernel can be come with it."""
        recipe, found = self._recipe, []
        for path, layer in self.layers:
            if recipe.excludes(path) or not layer.built:
                continue
            if self.why_untouched(layer) is not None:
                continue
            if isinstance(layer, QUANTIZABLE):
                prune = self.why_not_pruned(path, layer) is None
                if prune or recipe.quantize:
                    pattern = recipe.pattern if prune else None
                    found.append(Target(path, layer, pattern, self.leaves(layer)))
            elif isinstance(layer, INT8_JOINS) and recipe.quantize:
                found.append(Target(path, layer, None, self.leaves(layer)))
            elif isinstance(layer, NORMS) and recipe.freezes_statistics():
                found.append(Target(path, layer, None, False))
        return found

    def leaves(self, layer: layers.Layer) -> bool:
        """Return whether a layer's output leaves the model and needs its own range."""
        activation = getattr(getattr(layer, "activation", None), "__name__", "")
        # Averages keep the scale of what they average, and a sum of columns in one
        # range may spoil the small ones: these are calibrated, as ever.
        shaped = isinstance(layer, (*QUANTIZABLE, layers.Add))
        return id(layer) in self._leaving and shaped and activation not in _FIXED

    def misfits(self) -> list[str]:
        """Return "'path': reason" of layers that multiply by weights never pruned.

        Those that a user left out on purpose, by `exclude` or `trainable=False`, are
        none; nor are embeddings and depthwise convolutions, where no pattern fits.
        """
        found = []
        for path, layer, variable in self.matrices():
            if isinstance(layer, _NO_PRODUCTS) or "embedding" in variable.name:
                continue
            if self._recipe.excludes(path) or _why_frozen(layer) is not None:
                continue
            reason = self.why_not_pruned(path, layer)
            if reason is not None:
                found.append(f"'{path}': {reason}")
        return list(dict.fromkeys(found))


def find_targets(model: keras.Model, recipe: Recipe) -> list[Target]:
    """Decide what happens to each layer, before any layer is touched.

    Raises:
        ValueError: if there is nothing to compress, if an exclusion matches no
            layer, if weights are kept in float16, or (`strict=True`) if a layer
            that multiplies by weights is not pruned.
    """
    survey = Survey(model, recipe)
    _check_exclusions(model, recipe, survey)
    targets = survey.targets()
    misfits = survey.misfits() if recipe.pattern is not None else []
    if misfits and recipe.strict:
        raise ValueError(
            f"strict=True, and {recipe.pattern} does not fit every layer: "
            + "; ".join(misfits)
            + ". Exclude these layers, change their sizes, or drop strict=True."
        )
    kernels = [t for t in targets if isinstance(t.layer, QUANTIZABLE)]
    hopeless = recipe.pattern is not None and all(t.pattern is None for t in kernels)
    if not kernels or hopeless:
        names = ", ".join(cls.__name__ for cls in PRUNABLE)
        found = "; ".join(_reasons(survey)) or "none of these"
        raise ValueError(
            f"Model '{model.name}' has no layer to compress. qsparse prunes {names}. "
            f"Found {found}. Choose another pattern or fewer exclusions."
        )
    for path, layer, *_ in kernels:
        if layer.variable_dtype == "float16":
            raise ValueError(
                f"Layer '{path}' keeps its weights in float16, in which training "
                "diverges: small updates vanish and ranges overflow. Build the model "
                "with the policy 'mixed_float16', which computes in float16 and keeps "
                "the weights in float32."
            )
    return targets


def _check_exclusions(model: keras.Model, recipe: Recipe, survey: Survey) -> None:
    for entry in recipe.exclude:
        if not any(matches(entry, path) for path, _ in survey.layers):
            raise ValueError(
                f"exclude={entry!r} matches no layer of model '{model.name}'. Give "
                "the name or path of a layer, or a shell pattern; this model has "
                f"{', '.join(path for path, _ in survey.layers[:20])}"
                + (", ..." if len(survey.layers) > 20 else ".")
            )


def _reasons(survey: Survey) -> list[str]:
    reasons = []
    for path, layer, _ in survey.matrices():
        why = survey.why_untouched(layer) or survey.why_not_pruned(path, layer)
        reasons.append(f"'{path}': {why}")
    return list(dict.fromkeys(reasons))[:20]


def _why_frozen(layer: layers.Layer) -> str | None:
    """Pruned weights that do not train would never make up for what they lose."""
    if not layer.trainable:
        return "frozen: trainable=False"
    kernel = own_kernel(layer)
    if kernel is not None and not kernel.trainable:
        return "frozen: its kernel has trainable=False"
    return None


def _own_code(layer: layers.Layer) -> str | None:
    """Return how a subclass may use its kernel in a way that Keras does not."""
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
