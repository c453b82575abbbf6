"""Targets: which layers a recipe compresses, and why it leaves the others."""

from typing import Any, NamedTuple

import keras
from keras import layers

from qsparse.keras_compat import walk_layers
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


class Target(NamedTuple):
    """A layer to compress; `pattern` is None where it is only quantized."""

    path: str
    layer: layers.Layer
    pattern: Any


def why_not_pruned(layer: layers.Layer, path: str, recipe: Recipe) -> str | None:
    """Return why the recipe's pattern is not laid on this layer, or None."""
    if recipe.pattern is None:
        return "the recipe prunes nothing"
    if recipe.excludes(path):
        return "excluded by the recipe"
    if not isinstance(layer, PRUNABLE):
        return f"{type(layer).__name__} is not pruned"
    reason = why_untouched(layer)
    if reason is not None:
        return reason
    if getattr(layer, "groups", 1) != 1:
        return f"groups={layer.groups}: only convolutions with groups=1 are pruned"
    layout: Any = kernel_layout(layer)
    return recipe.pattern.misfit(layout.canonical_shape)


def why_untouched(layer: layers.Layer) -> str | None:
    """Return why a layer's kernel can be neither pruned nor quantized, or None."""
    changed = changed_by_keras(layer)
    if changed is not None:
        return f"it {changed}"
    if kernel_layout(layer) is None:
        return "its kernel has no single reduction axis"
    return None


def find_targets(model: keras.Model, recipe: Recipe) -> list[Target]:
    """Decide what happens to each layer, before any layer is touched.

    Raises:
        ValueError: if there is nothing to compress, if an exclusion matches no
            layer, or (`strict=True`) if the pattern does not fit a layer that
            could be pruned.
    """
    targets: list[Target] = []
    misfits = []
    walked = walk_layers(model)
    for entry in recipe.exclude:
        if not any(matches(entry, path) for path, _ in walked):
            raise ValueError(
                f"exclude={entry!r} matches no layer of model '{model.name}'. Give "
                "the name or path of a layer, or a shell pattern; this model has "
                f"{', '.join(path for path, _ in walked[:20])}"
                + (", ..." if len(walked) > 20 else ".")
            )
    for path, layer in walked:
        if recipe.excludes(path) or not layer.built:
            continue
        if isinstance(layer, QUANTIZABLE):
            reason = why_not_pruned(layer, path, recipe)
            pattern = recipe.pattern if reason is None else None
            if reason and recipe.pattern and isinstance(layer, PRUNABLE):
                misfits.append(f"'{path}': {reason}")
            quantizable = recipe.quantize and why_untouched(layer) is None
            if pattern is not None or quantizable:
                targets.append(Target(path, layer, pattern))
        elif isinstance(layer, INT8_JOINS) and recipe.quantize:
            targets.append(Target(path, layer, None))
        elif isinstance(layer, NORMS) and recipe.freezes_statistics():
            targets.append(Target(path, layer, None))
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
        found = "; ".join(misfits) or "none of these"
        raise ValueError(
            f"Model '{model.name}' has no layer to compress. qsparse prunes {names}. "
            f"Found {found}. Choose another pattern or fewer exclusions."
        )
    return targets
