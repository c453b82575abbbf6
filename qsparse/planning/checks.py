"""Checks: what a plan has to hold before it is executed."""

from collections.abc import Sequence

import keras

from qsparse.keras_compat import walk_layers
from qsparse.planning.plan import Planned
from qsparse.planning.recipe import Recipe
from qsparse.planning.rulebook import Rulebook
from qsparse.planning.targets import NO_PRODUCTS, PRUNABLE, QUANTIZABLE, why_frozen


def demand(model: keras.Model, recipe: Recipe, plans: Sequence[Planned]) -> None:
    """Checks that a plan can be executed, before any layer is touched.

    Raises:
        ValueError: if there is nothing to compress, if an exclusion matches no
            layer, if weights are kept in float16, or (`strict=True`) if a layer
            that multiplies by weights is not pruned.
    """
    misfits = _misfits(plans) if recipe.prunes else []
    if misfits and recipe.strict:
        raise ValueError(
            "strict=True, and not every layer can be pruned: "
            + "; ".join(misfits)
            + ". Exclude these layers, change their sizes, or drop strict=True."
        )
    kernels = [
        item
        for item in plans
        if item.plan.compresses and isinstance(item.layer, QUANTIZABLE)
    ]
    hopeless = recipe.prunes and not any(p.plan.prunes for p in kernels)
    if not kernels or hopeless:
        names = ", ".join(cls.__name__ for cls in PRUNABLE)
        found = "; ".join(_reasons(plans)) or "none of these"
        raise ValueError(
            f"Model '{model.name}' has no layer to compress. qsparse prunes {names}. "
            f"Found {found}. Choose another pattern or fewer exclusions."
        )
    for layer, plan in kernels:
        if layer.variable_dtype == "float16":
            raise ValueError(
                f"Layer '{plan.path}' keeps its weights in float16, in which training "
                "diverges: small updates vanish and ranges overflow. Build the model "
                "with the policy 'mixed_float16', which computes in float16 and keeps "
                "the weights in float32."
            )


def _misfits(plans: Sequence[Planned]) -> list[str]:
    """Returns "'path': reason" of layers that multiply by weights never pruned.

    Those that a user left out on purpose, by `exclude`, by a rule or by
    `trainable=False`, are none; nor are embeddings and depthwise convolutions, where
    no pattern fits.
    """
    found = []
    for layer, plan in plans:
        names = [matrix.name for matrix in plan.matrices]
        if isinstance(layer, NO_PRODUCTS) or all("embedding" in n for n in names):
            continue
        if plan.on_purpose or why_frozen(layer) is not None:
            continue
        if plan.reason:
            found.append(f"'{plan.path}': {plan.reason}")
    return found


def check_names(model: keras.Model, recipe: Recipe) -> None:
    """Checks that every rule and every exclusion names a layer.

    Raises:
        ValueError: if one does not; it names the nearest there are.
    """
    Rulebook(model, recipe, walk_layers(model)).check()


def _reasons(plans: Sequence[Planned]) -> list[str]:
    with_weights = [plan for _, plan in plans if plan.matrices]
    return [f"'{plan.path}': {plan.reason}" for plan in with_weights][:20]
